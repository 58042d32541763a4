//! The page that clients read lists every code that they can get.

#[cfg(test)]
mod errors_page {
    use stockade_protocol::ErrorCode;

    #[test]
    fn lists_each_code_with_its_status() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/errors.md");
        let page = std::fs::read_to_string(page).expect("docs/errors.md is made by `cargo xtask gen`");
        for code in ErrorCode::ALL {
            let row = format!("| `{code}` | {} |", code.status());
            assert!(
                page.contains(&row),
                "docs/errors.md has no row `{row}`; run `cargo xtask gen`"
            );
        }
    }
}
