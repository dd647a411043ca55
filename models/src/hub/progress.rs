//! A bar on the terminal while files come in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hf_hub::progress::{DownloadEvent, FileProgress, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// One bar over all files of a model.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Bytes by file, since events tell of single files; and of the batch that is counted as one.
    bytes: Mutex<HashMap<String, u64>>,
}

impl Default for Bar {
    fn default() -> Self {
        let style = ProgressStyle::with_template(TEMPLATE)
            .expect("the template is a constant that the tests render");
        Self {
            bar: ProgressBar::no_length().with_style(style),
            bytes: Mutex::default(),
        }
    }
}

impl Bar {
    fn set(&self, updates: impl Iterator<Item = (String, u64)>) {
        // A count that a panic cut short is still a count.
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(updates);
        self.bar.set_position(bytes.values().sum());
    }
}

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.bar.set_length(*total_bytes),
            DownloadEvent::Progress { files } => {
                let of = |file: &FileProgress| (file.filename.clone(), file.bytes_completed);
                self.set(files.iter().map(of));
            }
            DownloadEvent::AggregateProgress {
                bytes_completed, ..
            } => self.set([(String::new(), *bytes_completed)].into_iter()),
            DownloadEvent::Complete => self.bar.finish_and_clear(),
        }
    }
}
