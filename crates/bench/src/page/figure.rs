//! What the template is given: figures, tables, notes.

use serde::Serialize;

use super::element::Element;

/// A plot with what it says in words, and its numbers.
#[derive(Serialize)]
pub(super) struct Figure {
    heading: String,
    /// What is drawn, and how it is defined.
    caption: String,
    /// SVG; `None` where the reports hold nothing to draw.
    drawing: Option<String>,
    /// What stands in place of a drawing.
    missing: &'static str,
    tables: Vec<Table>,
}

/// Numbers as text; the first column names the row.
#[derive(Default, Serialize)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Figure {
    pub(super) fn new(heading: impl Into<String>, caption: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            caption: caption.into(),
            drawing: None,
            missing: "The reports hold no values for this plot.",
            tables: Vec::new(),
        }
    }

    /// Says why there is no drawing.
    pub(super) fn instead(mut self, reason: &'static str) -> Self {
        self.missing = reason;
        self
    }

    pub(super) fn drawn(mut self, drawing: &Element) -> Self {
        self.drawing = Some(drawing.to_string());
        self
    }

    /// A table without rows is left out.
    pub(super) fn with_table(mut self, table: Table) -> Self {
        if !table.rows.is_empty() {
            self.tables.push(table);
        }
        self
    }
}

impl Table {
    pub(super) fn new<'a>(
        caption: impl Into<String>,
        head: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            caption: caption.into(),
            head: head.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }
}
