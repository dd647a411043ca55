//! Elements of SVG, written so that no text or attribute can leave its place.

use std::fmt::{self, Display, Formatter, Write};

use minijinja::HtmlEscape;

/// One element and what it holds.
pub(super) struct Element {
    name: &'static str,
    attributes: String,
    content: String,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: String::new(),
            content: String::new(),
        }
    }

    /// A group of that class.
    pub(super) fn group(class: &str) -> Self {
        Self::new("g").with("class", class)
    }

    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        push(
            &mut self.attributes,
            format_args!(" {name}=\"{}\"", HtmlEscape(&value)),
        );
        self
    }

    /// An attribute that is a length or a place, in pixels.
    pub(super) fn at(self, name: &str, pixels: f64) -> Self {
        self.with(name, Pixels(pixels))
    }

    pub(super) fn text(mut self, text: impl Display) -> Self {
        let text = text.to_string();
        push(&mut self.content, format_args!("{}", HtmlEscape(&text)));
        self
    }

    /// What is shown when the pointer rests on the element.
    pub(super) fn hint(self, hint: impl Display) -> Self {
        self.child(Self::new("title").text(hint))
    }

    pub(super) fn child(mut self, child: Self) -> Self {
        push(&mut self.content, format_args!("{child}"));
        self
    }

    pub(super) fn children(self, children: impl IntoIterator<Item = Self>) -> Self {
        children.into_iter().fold(self, Self::child)
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            attributes,
            content,
        } = self;
        if content.is_empty() {
            return write!(f, "<{name}{attributes}/>");
        }
        write!(f, "<{name}{attributes}>{content}</{name}>")
    }
}

/// A drawing of that size, which shrinks with its place; `label` is what a screen reader says.
pub(super) fn drawing(width: f64, height: f64, label: &str) -> Element {
    Element::new("svg")
        .with("viewBox", format_args!("0 0 {width} {height}"))
        .with("role", "img")
        .with("aria-label", label)
}

/// A straight line.
pub(super) fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> Element {
    Element::new("line")
        .with("class", class)
        .at("x1", from.0)
        .at("y1", from.1)
        .at("x2", to.0)
        .at("y2", to.1)
}

/// A rectangle; one without width is drawn as thin as can be seen.
pub(super) fn rectangle(class: &str, corner: (f64, f64), width: f64, height: f64) -> Element {
    Element::new("rect")
        .with("class", class)
        .at("x", corner.0)
        .at("y", corner.1)
        .at("width", width.max(0.7))
        .at("height", height.max(0.2))
}

pub(super) fn circle(class: &str, centre: (f64, f64), radius: f64) -> Element {
    Element::new("circle")
        .with("class", class)
        .at("cx", centre.0)
        .at("cy", centre.1)
        .at("r", radius)
}

/// Text that begins, ends or is centred (`start`, `end`, `middle`) at a place.
pub(super) fn label(class: &str, anchor: &str, at: (f64, f64), text: impl Display) -> Element {
    Element::new("text")
        .with("class", class)
        .with("text-anchor", anchor)
        .at("x", at.0)
        .at("y", at.1)
        .text(text)
}

/// A line through points.
pub(super) fn path(class: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Element {
    let mut data = String::new();
    for (x, y) in points {
        let verb = if data.is_empty() { 'M' } else { 'L' };
        push(&mut data, format_args!("{verb}{} {}", Pixels(x), Pixels(y)));
    }
    Element::new("path").with("class", class).with("d", data)
}

/// A tenth of a pixel is as fine as an eye can see.
struct Pixels(f64);

impl Display for Pixels {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

fn push(into: &mut String, text: fmt::Arguments<'_>) {
    into.write_fmt(text)
        .expect("writing into a String never fails");
}
