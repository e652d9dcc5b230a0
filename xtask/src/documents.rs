//! What the documents say of the sources, held to what is there.

use std::{collections::BTreeSet, fs, path::Path};

/// The names before the explanations, in the list of modules of one section of a document.
fn named(document: &str, section: &str) -> BTreeSet<String> {
    let section =
        document.split("\n## ").find(|text| text.starts_with(section)).expect("the section is there");
    let list = section.split("```").nth(1).expect("it has a list");
    list.lines()
        .map(str::trim)
        .flat_map(|line| line.split("  ").next().unwrap_or_default().split([',', ' ', '/']))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The modules in a folder.
fn modules(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let names =
        entries.map(|entry| entry.expect("it can be read").file_name().into_string().expect("a name"));
    let modules = names.map(|name| name.trim_end_matches(".rs").to_owned());
    modules.filter(|name| !["lib", "mod", "tests"].contains(&name.as_str())).collect()
}

#[test]
fn every_module_has_a_place_in_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    for (section, folders) in
        [("node: ", ["node/src", "node/src/node"]), ("native: ", ["native/src", "native/src/driver"])]
    {
        let named = named(&document, section);
        for folder in folders {
            let forgotten: Vec<_> = modules(&root.join(folder)).difference(&named).cloned().collect();
            assert!(forgotten.is_empty(), "ARCHITECTURE.md does not name {forgotten:?} of {folder}");
        }
    }
}
