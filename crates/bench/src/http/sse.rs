//! Server-sent events, as far as streams of completions use them.
//!
//! Source: WHATWG HTML, 9.2.6 "Interpreting an event stream".

/// A longer line is none that a completion sends.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Turns bytes as they come into the data of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    /// Data of an event that has not ended.
    data: String,
}

/// A line has no end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Takes bytes; returns the data of the events that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&line));
            } else if self.line.len() > LINE_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    /// An empty line ends an event; anything but data is not for us.
    fn end_line(&mut self, line: &[u8]) -> Option<String> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Some(std::mem::take(&mut self.data)).filter(|data| !data.is_empty());
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data
                .push_str(String::from_utf8_lossy(data.trim_ascii_start()).as_ref());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream = ": hello\r\nevent: x\ndata: {\"a\":\"é\"}\r\n\r\ndata:1\ndata: 2\n\n\n\ndata: [DONE]\n\ndata: cut";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for bytes in stream.as_bytes().chunks(size) {
                seen.extend(events.push(bytes).unwrap());
            }
            assert_eq!(seen, ["{\"a\":\"é\"}", "1\n2", "[DONE]"], "by {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut events = Events::default();
        let block = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(events.push(&block), Ok(Vec::new()));
        assert_eq!(events.push(b"x"), Err(TooLong));
    }
}
