//! `portcullis keys`: make, list and revoke API keys, through a server or in a data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_store::{ApiKey, DATABASE_FILE, KeyId, KeyName, NewKey, Role, SqliteStore, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api_client::ApiClient;
use crate::args::{KeysCommand, KeysCreateArgs, KeysListArgs, KeysPlaceArgs, KeysRevokeArgs};
use crate::clock::unix_now;
use crate::config::{Config, Flags};
use crate::env::Environment;
use crate::output::{table, utc};

/// Runs a subcommand.
///
/// # Errors
/// It could not be done.
pub(crate) async fn run(command: KeysCommand, environment: &Environment) -> Result<()> {
    match command {
        KeysCommand::Create(args) => create(&args, environment).await,
        KeysCommand::List(args) => list(&args, environment).await,
        KeysCommand::Revoke(args) => revoke(&args, environment).await,
    }
}

async fn create(args: &KeysCreateArgs, environment: &Environment) -> Result<()> {
    let (name, role) = (args.name.parse()?, args.role.parse()?);
    let made = Keys::find(&args.place, environment, IfMissing::Make)
        .await?
        .create(name, role)
        .await?;
    args.output.show(&made, |NewSecret { id, key }| {
        format!("id   {id}\nkey  {key}\nThe key is shown this once and kept nowhere: note it now.")
    })
}

async fn list(args: &KeysListArgs, environment: &Environment) -> Result<()> {
    let keys = Keys::find(&args.place, environment, IfMissing::Refuse)
        .await?
        .list()
        .await?;
    args.output.show(&keys, |keys| {
        let rows = keys.iter().map(|key| {
            let revoked = key.revoked.map(utc).unwrap_or_default();
            [
                key.id.clone(),
                key.name.clone(),
                key.role.clone(),
                utc(key.created),
                revoked,
            ]
        });
        let if_empty = "no keys; make one with `portcullis keys create --role admin --name NAME`";
        table(
            ["ID", "NAME", "ROLE", "CREATED (UTC)", "REVOKED (UTC)"],
            rows,
            if_empty,
        )
    })
}

async fn revoke(args: &KeysRevokeArgs, environment: &Environment) -> Result<()> {
    let id: KeyId = args.id.parse()?;
    Keys::find(&args.place, environment, IfMissing::Refuse)
        .await?
        .revoke(&id)
        .await?;
    args.output.show(&json!({"id": id, "revoked": true}), |_| {
        format!("{id} is revoked")
    })
}

/// A key without its secret, as the server tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct KeyInfo {
    id: String,
    name: String,
    role: String,
    created: i64,
    revoked: Option<i64>,
}

/// A key just made.
#[derive(Deserialize, Serialize)]
struct NewSecret {
    id: String,
    key: String,
}

/// Where keys are kept.
enum Keys {
    Directory(SqliteStore),
    Server(ApiClient),
}

/// What to do about a data directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    Make,
    Refuse,
}

impl Keys {
    /// `--data-dir` means the directory; a URL or a key to ask with means the server; otherwise
    /// the directory that a server started here would use.
    async fn find(
        place: &KeysPlaceArgs,
        environment: &Environment,
        if_missing: IfMissing,
    ) -> Result<Self> {
        match data_dir(place, environment)? {
            Some(data_dir) => open(&data_dir, if_missing).await.map(Self::Directory),
            None => ApiClient::new(&place.server, environment).map(Self::Server),
        }
    }

    async fn create(&self, name: KeyName, role: Role) -> Result<NewSecret> {
        match self {
            Self::Directory(store) => {
                let (key, secret) = store.create_key(NewKey { name, role }, unix_now()).await?;
                Ok(NewSecret {
                    id: key.id.to_string(),
                    key: secret.expose().to_owned(),
                })
            }
            Self::Server(server) => {
                server
                    .post(&["v1", "keys"], &json!({"name": name, "role": role}))
                    .await
            }
        }
    }

    async fn list(&self) -> Result<Vec<KeyInfo>> {
        match self {
            Self::Directory(store) => Ok(store
                .list_keys()
                .await?
                .into_iter()
                .map(KeyInfo::from)
                .collect()),
            Self::Server(server) => {
                let list: KeyList = server.get(&["v1", "keys"]).await?;
                Ok(list.data)
            }
        }
    }

    async fn revoke(&self, id: &KeyId) -> Result<()> {
        match self {
            Self::Directory(store) => {
                store.revoke_key(id, unix_now()).await?;
                Ok(())
            }
            Self::Server(server) => server.delete(&["v1", "keys", id.as_str()], &[]).await,
        }
    }
}

#[derive(Deserialize)]
struct KeyList {
    data: Vec<KeyInfo>,
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            role: key.role.to_string(),
            created: key.created_at,
            revoked: key.revoked_at,
        }
    }
}

fn data_dir(place: &KeysPlaceArgs, environment: &Environment) -> Result<Option<PathBuf>> {
    if place.data_dir.is_some() {
        return Ok(place.data_dir.clone());
    }
    let names_a_server = place.server.url.is_some()
        || place.server.api_key.is_some()
        || environment.get("PORTCULLIS_URL").is_some()
        || environment.get("PORTCULLIS_API_KEY").is_some();
    if names_a_server {
        return Ok(None);
    }
    Ok(Some(Config::load_data_dir(&Flags::default(), environment)?))
}

async fn open(data_dir: &Path, if_missing: IfMissing) -> Result<SqliteStore> {
    if if_missing == IfMissing::Refuse && !data_dir.join(DATABASE_FILE).exists() {
        bail!(
            "{} is no data directory yet; give the one of your server with --data-dir, or ask the \
             server with --url and --api-key",
            data_dir.display()
        );
    }
    SqliteStore::open(data_dir)
        .await
        .context("the data directory cannot be used")
}
