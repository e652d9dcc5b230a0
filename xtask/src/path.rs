//! Looking for programs along a `PATH`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The first program called `name` on this process's `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_all(name, &env::var_os("PATH")?).next()
}

/// Every program called `name` along `path`, in its order.
pub(crate) fn find_all(name: &str, path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(move |folder| folder.join(&file))
        .filter(|candidate| is_program(candidate))
        .collect::<Vec<_>>()
        .into_iter()
}

/// This process's `PATH` with `folders` searched first.
pub(crate) fn with_first(folders: &[&Path]) -> anyhow::Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| folder.to_path_buf());
    Ok(env::join_paths(folders.chain(env::split_paths(&rest)))?)
}

/// This process's `PATH` with `folder` searched last.
pub(crate) fn with_last(folder: &Path) -> anyhow::Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(env::split_paths(&rest).chain([folder.to_path_buf()]))?)
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::stamp::scratch::Scratch;

    #[test]
    fn finds_programs_in_the_order_of_the_path_and_nothing_that_cannot_run() {
        let scratch = Scratch::new("path");
        for (folder, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            let file = scratch.write(&format!("{folder}/tool"), "");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(scratch.root().join("d/tool")).unwrap();
        let at = |folder: &str| scratch.root().join(folder);
        let path = env::join_paths([at("a"), at("d"), at("missing"), at("c"), at("b")]).unwrap();

        let found: Vec<_> = find_all("tool", &path).collect();

        assert_eq!(found, [at("c/tool"), at("b/tool")]);
    }
}
