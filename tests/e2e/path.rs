//! What the documents name must exist: files, folders, and the functions that a request goes through.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_function_on_the_path_exists() {
    let root = root();
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let table = page.split("<!-- path:begin -->").nth(1).unwrap();
    let table = table.split("<!-- path:end -->").next().unwrap();
    let rows: Vec<(&str, &str)> = table.lines().filter_map(function_and_file).collect();
    assert!(rows.len() > 20, "the table is not read any more: {rows:?}");
    for (function, file) in rows {
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let exists = [format!("fn {function}("), format!("fn {function}<")];
        assert!(
            exists.iter().any(|f| source.contains(f)),
            "{file} has no function {function}"
        );
    }
}

/// The second and third cell of a row that begins with a number.
fn function_and_file(line: &str) -> Option<(&str, &str)> {
    let mut cells = line
        .split('|')
        .map(|cell| cell.trim().trim_matches('`'))
        .skip(1);
    cells.next()?.parse::<u32>().ok()?;
    Some((cells.next()?, cells.next()?))
}

#[test]
fn each_file_that_a_document_names_exists() {
    let mut named = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{}: {link}", page.display());
            named += 1;
        }
        for path in text.split('`').skip(1).step_by(2).filter(|it| is_ours(it)) {
            let is_there = root().join(path).exists() || folder.join(path).exists();
            assert!(is_there, "{}: `{path}`", page.display());
            named += 1;
        }
    }
    assert!(named > 60, "documents are not read any more: {named}");
}

/// The documents of the repository, not those of what was built or installed beside them.
fn pages() -> Vec<PathBuf> {
    let folders = [
        ".",
        "docs",
        "fuzz",
        "models/demo/llama",
        "scripts/demo-models",
        "tests/clients",
    ];
    let files = folders.map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let files = files.into_iter().flatten().map(|file| file.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|it| it == "md"));
    pages.collect()
}

/// Whether it reads as a path from the root: a folder that is there, and something in it.
fn is_ours(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let first = text.split('/').next().unwrap_or_default();
    let is_folder = !first.is_empty() && root().join(first).is_dir();
    // Made by what is run.
    let made = ["target/", "fuzz/corpus", "fuzz/artifacts"];
    let is_made = made.iter().any(|folder| text.starts_with(folder));
    text.contains('/') && text.chars().all(plain) && is_folder && !is_made
}
