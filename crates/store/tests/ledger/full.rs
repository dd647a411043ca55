//! A disk that is really full.
//!
//! ```sh
//! mount -t tmpfs -o size=4m tmpfs /mnt/small
//! PORTCULLIS_SMALL_DISK=/mnt/small cargo test -p portcullis-store --test ledger -- --ignored full
//! ```

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use portcullis_ledger::{OpenRecord, Outcome, Unrecorded};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::common::{ALICE, Server, call, end};

#[tokio::test]
#[ignore = "needs a small disk of its own"]
async fn a_ledger_on_a_full_disk_goes_on_once_there_is_room() {
    let disk = std::env::var_os("PORTCULLIS_SMALL_DISK").expect("the directory of a small disk");
    let dir = TempDir::new_in(disk).unwrap();
    let server = Server::start(dir.path()).await;
    let ballast = dir.path().join("ballast");
    for _ in 0..3 {
        let before = server.open(call(Some(ALICE), "bank", &[])).await;
        fill(&ballast);
        let refused = call_until_refused(&server).await;
        assert!(refused.to_string().contains("make room"), "{refused}");
        let owed = before.close(end(Outcome::Finished, 1)).durable().await;
        assert!(owed.unwrap_err().to_string().contains("make room"));

        fs::remove_file(&ballast).unwrap();
        let recovered = timeout(Duration::from_secs(10), call_until_accepted(&server)).await;
        let after = recovered.unwrap();
        after
            .close(end(Outcome::Finished, 1))
            .durable()
            .await
            .unwrap();
        assert_eq!(server.recorder.trouble(), None);
        server.assert_log_is_sound().await;
    }
    server.stop().await;
    let again = Server::start(dir.path()).await;
    assert_eq!(again.crashed, 0);
    again.assert_log_is_sound().await;
}

/// Writes as much as there is room for.
fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

/// There is some room left in files that are there.
async fn call_until_refused(server: &Server) -> Unrecorded {
    loop {
        let mut open = server
            .recorder
            .open(call(Some(ALICE), "bank", &[]))
            .unwrap();
        if let Err(refused) = open.durable().await {
            return refused;
        }
        // Whether its end still finds room does not matter.
        drop(open.close(end(Outcome::Finished, 1)).durable().await);
    }
}

async fn call_until_accepted(server: &Server) -> OpenRecord {
    loop {
        let mut open = server
            .recorder
            .open(call(Some(ALICE), "bank", &[]))
            .unwrap();
        match open.durable().await {
            Ok(()) => return open,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
