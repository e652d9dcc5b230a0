//! Knowing that nothing changed since the last build, in milliseconds.
//!
//! A stamp is what a finished build was made from (a hash over the inputs'
//! names and contents) and what it made (names, sizes and times of the outputs).
//! As long as both still hold, the build can be skipped. Contents rather than
//! times for the inputs, since switching branches touches files without changing
//! them; and the outputs too, since someone else may have built into that place.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The record of one build, before it runs.
pub(crate) struct Stamp {
    file: PathBuf,
    inputs: u64,
    outputs: Vec<PathBuf>,
}

impl Stamp {
    /// Takes the inputs as they are now, so that an edit during the build makes the stamp stale.
    ///
    /// # Errors
    ///
    /// An input that exists and cannot be read. One that does not exist is merely absent.
    pub(crate) fn take(
        workspace: &Workspace,
        name: &str,
        inputs: &[PathBuf],
        outputs: Vec<PathBuf>,
    ) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        for input in inputs {
            hash_contents(input, &mut hasher)?;
        }
        let file = workspace.target().join("xtask").join("stamps").join(name);
        Ok(Self { file, inputs: hasher.finish(), outputs })
    }

    /// Whether the last recorded build had these inputs and its outputs are untouched.
    pub(crate) fn is_fresh(&self) -> bool {
        let recorded = fs::read_to_string(&self.file);
        self.record().is_some_and(|record| recorded.is_ok_and(|recorded| recorded == record))
    }

    /// Records that the build succeeded.
    pub(crate) fn write(&self) -> Result<()> {
        let record = self.record().context("the build succeeded without writing its outputs")?;
        let folder = self.file.parent().context("a stamp has a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&self.file, record).with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// The stamp's text, or nothing if an output is missing.
    fn record(&self) -> Option<String> {
        let mut hasher = DefaultHasher::new();
        for output in &self.outputs {
            hash_metadata(output, &mut hasher).ok()?;
        }
        Some(format!("{:016x} {:016x}\n", self.inputs, hasher.finish()))
    }
}

/// Feeds the names and contents of everything below `path`, in a fixed order.
fn hash_contents(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    path.hash(hasher);
    if path.is_dir() {
        for entry in entries(path)? {
            hash_contents(&entry, hasher)?;
        }
    } else if path.exists() {
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))?.hash(hasher);
    }
    Ok(())
}

fn hash_metadata(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let metadata = path.metadata()?;
    path.hash(hasher);
    if metadata.is_dir() {
        for entry in entries(path)? {
            hash_metadata(&entry, hasher)?;
        }
    } else {
        metadata.len().hash(hasher);
        metadata.modified()?.hash(hasher);
    }
    Ok(())
}

/// What is in a folder, sorted; build folders, packages of other ecosystems and hidden files aside.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && name != "target" && name != "node_modules" {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// A folder for one test, removed afterwards.
#[cfg(test)]
pub(crate) mod scratch {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process;

    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Self {
            let root = env::temp_dir().join(format!("meshground-xtask-{name}-{}", process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        pub(crate) fn root(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scratch::Scratch;
    use super::*;

    fn stamp(scratch: &Scratch) -> Stamp {
        let mut hasher = DefaultHasher::new();
        hash_contents(&scratch.root().join("src"), &mut hasher).unwrap();
        Stamp {
            file: scratch.root().join("stamps/it"),
            inputs: hasher.finish(),
            outputs: vec![scratch.root().join("out")],
        }
    }

    fn built(name: &str) -> Scratch {
        let scratch = Scratch::new(name);
        scratch.write("src/main.rs", "fn main() {}");
        scratch.write("src/deep/er.rs", "");
        scratch.write("out/page.html", "<html>");
        stamp(&scratch).write().unwrap();
        scratch
    }

    #[test]
    fn is_stale_before_the_first_build_and_fresh_after_it() {
        let scratch = Scratch::new("first");
        scratch.write("src/main.rs", "fn main() {}");
        scratch.write("out/page.html", "<html>");
        assert!(!stamp(&scratch).is_fresh());
        stamp(&scratch).write().unwrap();
        assert!(stamp(&scratch).is_fresh());
    }

    #[test]
    fn stays_fresh_when_a_source_is_touched_without_changing() {
        let scratch = built("touched");
        scratch.write("src/main.rs", "fn main() {}");
        assert!(stamp(&scratch).is_fresh());
    }

    #[test]
    fn goes_stale_when_a_source_changes_comes_or_goes() {
        let scratch = built("edited");
        scratch.write("src/main.rs", "fn main() { }");
        assert!(!stamp(&scratch).is_fresh());

        let scratch = built("added");
        scratch.write("src/deep/new.rs", "");
        assert!(!stamp(&scratch).is_fresh());

        let scratch = built("removed");
        fs::remove_file(scratch.root().join("src/deep/er.rs")).unwrap();
        assert!(!stamp(&scratch).is_fresh());
    }

    #[test]
    fn goes_stale_when_an_output_is_missing_or_someone_else_wrote_it() {
        let scratch = built("overwritten");
        scratch.write("out/page.html", "<html lang=en>");
        assert!(!stamp(&scratch).is_fresh());

        let scratch = built("lost");
        fs::remove_dir_all(scratch.root().join("out")).unwrap();
        assert!(!stamp(&scratch).is_fresh());
    }

    #[test]
    fn ignores_what_a_build_leaves_among_the_sources() {
        let scratch = built("leftovers");
        scratch.write("src/target/debug/thing", "");
        scratch.write("src/.main.rs.swp", "");
        assert!(stamp(&scratch).is_fresh());
    }
}
