//! ARCHITECTURE.md names the functions that a request goes through: they must exist.

use std::path::Path;

#[test]
fn each_function_on_the_path_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
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
