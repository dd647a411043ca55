//! The frame of a plot: grid, ticks, titles.

use super::element::{Element, label, line};
use super::scale::Scale;

/// How far above the plot the title of y stands: over what stands at the plot's upper edge.
const TITLE_ABOVE: f64 = 26.0;

/// What an axis is called, and whether lines go across the plot at its ticks.
pub(super) struct Axis<'a> {
    pub(super) scale: &'a Scale,
    pub(super) title: &'a str,
}

/// Both axes of a plot. The title of y stands level above it, where it can be read.
pub(super) fn draw(x: &Axis<'_>, y: &Axis<'_>) -> Element {
    let (left, right) = x.scale.ends();
    let (bottom, top) = y.scale.ends();
    Element::group("axes")
        .children(rows(y.scale, left, right))
        .children(columns(x.scale, bottom, top))
        .child(line("base", (left, bottom), (right, bottom)))
        .child(label("name", "start", (4.0, top - TITLE_ABOVE), y.title))
        .child(label("name", "end", (right, bottom + 38.0), x.title))
}

/// Lines across, with their values at the left.
pub(super) fn rows(y: &Scale, left: f64, right: f64) -> impl Iterator<Item = Element> {
    y.ticks().iter().map(move |tick| {
        let place = y.place(tick.value);
        Element::group("tick")
            .child(line("grid", (left, place), (right, place)))
            .child(label("", "end", (left - 8.0, place + 4.0), &tick.label))
    })
}

/// Lines up, with their values below.
pub(super) fn columns(x: &Scale, bottom: f64, top: f64) -> impl Iterator<Item = Element> {
    x.ticks().iter().map(move |tick| {
        let place = x.place(tick.value);
        Element::group("tick")
            .child(line("grid", (place, bottom), (place, top)))
            .child(label("", "middle", (place, bottom + 18.0), &tick.label))
    })
}
