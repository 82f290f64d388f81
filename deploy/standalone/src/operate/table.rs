//! Tables without lines around them, as `kubectl` and `ps` print them: wide ones stay
//! one line a row, so that `grep` and `awk` work.

use comfy_table::{CellAlignment, Table, presets};

/// Rows under headings. Numbers go into columns that are named with a leading `>`, which
/// puts them to the right.
#[must_use]
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(
        headings
            .iter()
            .map(|heading| heading.trim_start_matches('>')),
    );
    for (index, heading) in headings.iter().enumerate() {
        if heading.starts_with('>')
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    lines(&table)
}

/// Names and values, one pair a line; pairs without a value are left out.
#[must_use]
pub fn facts(pairs: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(
        pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| [format!("  {name}"), value.clone()]),
    );
    if table.is_empty() {
        return String::new();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    lines(&table)
}

fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// `-` for what is empty.
#[must_use]
pub fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".into()
    } else {
        text.into()
    }
}

#[must_use]
pub fn yes_no(yes: bool) -> String {
    if yes { "yes".into() } else { "no".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_has_blanks_at_its_end() {
        let rows = [["a", "1", "x"], ["long name", "20", ""]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        let text = table(&["NAME", ">COUNT", "NOTE"], rows);
        assert_eq!(
            text,
            "NAME       COUNT  NOTE\na              1  x\nlong name     20\n"
        );
    }

    #[test]
    fn a_row_stays_one_line_however_long() {
        let text = table(&["A"], [vec!["x".repeat(500)]]);
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        let text = facts(&[
            ("peer", "::1".into()),
            ("reason", String::new()),
            ("age", "1s".into()),
        ]);
        assert_eq!(text, "  peer  ::1\n  age   1s\n");
        assert_eq!(facts(&[("reason", String::new())]), "");
    }
}
