//! Where a roll-back goes on from.

use super::{GaveUp, Matcher, Scan};

/// Bytes of released text that are kept, if a scan can be copied then.
const COPY_BYTES_MIN: usize = 512;
/// Bytes of released text that are kept.
const TEXT_BYTES_MAX: usize = 4096;

/// The scan of what is released, in the form of an earlier one and the text since: text is released
/// far more often than rolled back, so that it is read again only then.
#[derive(Debug)]
pub(crate) struct Base {
    scan: Scan,
    /// Where `text` begins in the completion.
    start: usize,
    /// What was released after what `scan` has read.
    text: String,
    /// Whether the head has forgotten threads, which reading again would bring back.
    forgot: bool,
}

impl Base {
    pub(crate) fn new(scan: Scan) -> Self {
        Self {
            scan,
            start: 0,
            text: String::new(),
            forgot: false,
        }
    }

    /// `text`, which begins at byte `start`, is released. `head` has read it and perhaps more;
    /// `all`: and nothing else.
    pub(crate) fn release(
        &mut self,
        matcher: &Matcher,
        head: &Scan,
        start: usize,
        text: &str,
        all: bool,
    ) -> Result<(), GaveUp> {
        let len = self.text.len() + text.len();
        if all && (self.forgot || len >= COPY_BYTES_MIN) {
            self.scan.copy_from(head);
            self.text.clear();
            self.start = start + text.len();
            self.forgot = false;
            return Ok(());
        }
        if len > TEXT_BYTES_MAX {
            self.catch_up(matcher)?;
        }
        self.text.push_str(text);
        Ok(())
    }

    /// The head of the scan is somebody else's word and no longer what reading would come to.
    pub(crate) fn note_forgotten(&mut self) {
        self.forgot = true;
    }

    /// Takes `head` back to the end of what is released.
    pub(crate) fn restore(&mut self, matcher: &Matcher, head: &mut Scan) -> Result<(), GaveUp> {
        self.catch_up(matcher)?;
        head.copy_from(&self.scan);
        Ok(())
    }

    /// What it finds has been acted on.
    fn catch_up(&mut self, matcher: &Matcher) -> Result<(), GaveUp> {
        let mut found = Vec::new();
        self.scan
            .advance(matcher, self.start, &self.text, &mut found)?;
        self.scan.settle(matcher, &mut found);
        self.start += self.text.len();
        self.text.clear();
        Ok(())
    }
}
