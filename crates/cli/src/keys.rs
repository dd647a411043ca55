//! `portcullis keys`: make, list, change and revoke API keys, through a server or in a data
//! directory.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_store::{
    ApiKey, Change, DATABASE_FILE, KeyChange, KeyId, KeyLimits, NewKey, SqliteStore, Store,
    StoreError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api_client::{ApiClient, Refused};
use crate::args::keys::{
    KeysCommand, KeysCreateArgs, KeysListArgs, KeysPlaceArgs, KeysRevokeArgs, KeysUpdateArgs,
};
use crate::clock::unix_now;
use crate::config::{Config, Flags};
use crate::env::Environment;
use crate::output::{note, table, utc};

/// Runs a subcommand.
///
/// # Errors
/// It could not be done.
pub(crate) async fn run(command: KeysCommand, environment: &Environment) -> Result<()> {
    match command {
        KeysCommand::Create(args) => create(&args, environment).await,
        KeysCommand::List(args) => list(&args, environment).await,
        KeysCommand::Update(args) => update(&args, environment).await,
        KeysCommand::Revoke(args) => revoke(&args, environment).await,
    }
}

async fn create(args: &KeysCreateArgs, environment: &Environment) -> Result<()> {
    let terms = args.terms.change(unix_now());
    check_expiry(&terms)?;
    let new = NewKey {
        name: args.name.parse()?,
        role: args.role.parse()?,
        expires_at: terms.expires_at.flatten(),
        limits: KeyLimits {
            requests_per_minute: terms.requests_per_minute.flatten(),
            tokens_per_minute: terms.tokens_per_minute.flatten(),
            tokens_per_day: terms.tokens_per_day.flatten(),
            max_concurrent_requests: terms.max_concurrent_requests.flatten(),
        },
    };
    let made = Keys::find(&args.place, environment, IfMissing::Make)
        .await?
        .create(new)
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
    args.output.show(&keys, |keys| as_table(keys))
}

async fn update(args: &KeysUpdateArgs, environment: &Environment) -> Result<()> {
    let (id, change) = (args.id.parse()?, args.terms.change(unix_now()));
    if change == KeyChange::default() {
        bail!(
            "say what to change: --expires, --requests-per-minute, --tokens-per-minute, \
             --tokens-per-day or --max-concurrent-requests"
        );
    }
    check_expiry(&change)?;
    let key = Keys::find(&args.place, environment, IfMissing::Refuse)
        .await?
        .update(&id, change)
        .await?;
    args.output
        .show(&key, |key| as_table(std::slice::from_ref(key)))
}

async fn revoke(args: &KeysRevokeArgs, environment: &Environment) -> Result<()> {
    let id: KeyId = args.id.parse()?;
    let keys = Keys::find(&args.place, environment, IfMissing::Refuse).await?;
    match keys.revoke(&id, args.yes).await {
        Err(error) if is_of_last_admin(&error) => {
            confirm_last_admin(&id)?;
            keys.revoke(&id, true).await?;
        }
        done => done?,
    }
    args.output.show(&json!({"id": id, "revoked": true}), |_| {
        format!("{id} is revoked")
    })
}

fn check_expiry(change: &KeyChange) -> Result<()> {
    match change.expires_at {
        Some(Some(at)) if at <= unix_now() => bail!(
            "{} UTC is past; to end a key now, use `portcullis keys revoke`",
            utc(at)
        ),
        _ => Ok(()),
    }
}

fn is_of_last_admin(error: &anyhow::Error) -> bool {
    let by_store = error.downcast_ref::<StoreError>();
    let by_server = error.downcast_ref::<Refused>();
    by_store.is_some_and(|error| matches!(error, StoreError::LastAdmin(_)))
        || by_server.is_some_and(|error| error.code.as_deref() == Some("last_admin"))
}

fn confirm_last_admin(id: &KeyId) -> Result<()> {
    let said = format!(
        "{id} is the last key that can administer; after it only who can write the data directory \
         can make one"
    );
    if !io::stdin().is_terminal() {
        bail!("{said}. Make another first, or give --yes");
    }
    write!(
        io::stderr().lock(),
        "{said}.\nRevoke it all the same? [y/N] "
    )?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("{id} is not revoked"),
    }
}

fn as_table(keys: &[KeyInfo]) -> String {
    let rows = keys.iter().map(|key| {
        [
            key.id.clone(),
            key.name.clone(),
            key.role.clone(),
            utc(key.created),
            key.expires_at.map(utc).unwrap_or_default(),
            key.revoked.map(utc).unwrap_or_default(),
            in_words(&key.limits),
        ]
    });
    let heads = [
        "ID",
        "NAME",
        "ROLE",
        "CREATED (UTC)",
        "EXPIRES (UTC)",
        "REVOKED (UTC)",
        "LIMITS",
    ];
    let if_empty = "no keys; make one with `portcullis keys create --role admin --name NAME`";
    table(heads, rows, if_empty)
}

/// `60 requests/min, 4 at once`
fn in_words(limits: &KeyLimits) -> String {
    let words = [
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.tokens_per_day, "tokens/day"),
        (limits.max_concurrent_requests, "at once"),
    ];
    let set = words
        .into_iter()
        .filter_map(|(limit, unit)| Some(format!("{} {unit}", limit?)));
    set.collect::<Vec<_>>().join(", ")
}

/// A key without its secret, as the server tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct KeyInfo {
    id: String,
    name: String,
    role: String,
    created: i64,
    revoked: Option<i64>,
    expires_at: Option<i64>,
    #[serde(flatten)]
    limits: KeyLimits,
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

    async fn create(&self, new: NewKey) -> Result<NewSecret> {
        match self {
            Self::Directory(store) => {
                let (key, secret) = store.create_key(new, unix_now()).await?;
                Ok(NewSecret {
                    id: key.id.to_string(),
                    key: secret.expose().to_owned(),
                })
            }
            Self::Server(server) => server.post(&["v1", "keys"], &new_key_body(&new)).await,
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

    async fn update(&self, id: &KeyId, change: KeyChange) -> Result<KeyInfo> {
        match self {
            Self::Directory(store) => Ok(store.update_key(id, change).await?.into()),
            Self::Server(server) => {
                let path = ["v1", "keys", id.as_str()];
                server.patch(&path, &change_body(&change)).await
            }
        }
    }

    async fn revoke(&self, id: &KeyId, even_the_last: bool) -> Result<()> {
        match self {
            Self::Directory(store) => {
                store.revoke_key(id, even_the_last, unix_now()).await?;
                Ok(())
            }
            Self::Server(server) => {
                let force: &[_] = match even_the_last {
                    true => &[("force", "true")],
                    false => &[],
                };
                server.delete(&["v1", "keys", id.as_str()], force).await
            }
        }
    }
}

fn new_key_body(new: &NewKey) -> Value {
    json!({
        "name": new.name,
        "role": new.role,
        "expires_at": new.expires_at,
        "requests_per_minute": new.limits.requests_per_minute,
        "tokens_per_minute": new.limits.tokens_per_minute,
        "tokens_per_day": new.limits.tokens_per_day,
        "max_concurrent_requests": new.limits.max_concurrent_requests,
    })
}

/// Null takes a limit away; what is left out stays.
fn change_body(change: &KeyChange) -> Value {
    let mut body = Map::new();
    put(&mut body, "expires_at", change.expires_at);
    put(&mut body, "requests_per_minute", change.requests_per_minute);
    put(&mut body, "tokens_per_minute", change.tokens_per_minute);
    put(&mut body, "tokens_per_day", change.tokens_per_day);
    put(
        &mut body,
        "max_concurrent_requests",
        change.max_concurrent_requests,
    );
    Value::Object(body)
}

fn put<T: Serialize>(body: &mut Map<String, Value>, field: &str, change: Change<T>) {
    if let Some(value) = change {
        body.insert(field.to_owned(), json!(value));
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
            expires_at: key.expires_at,
            limits: key.limits,
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
    let place = data_dir.display();
    match (data_dir.join(DATABASE_FILE).exists(), if_missing) {
        (true, _) => {}
        (false, IfMissing::Refuse) => bail!(
            "{place} is no data directory yet; give the one of your server with --data-dir, or ask \
             the server with --url and --api-key"
        ),
        // A first key is made before the first start; but a name may be mistyped.
        (false, IfMissing::Make) => note(format!(
            "{place} was no data directory and is made one now; the key is for a server that is \
             started with --data-dir {place}"
        )),
    }
    SqliteStore::open(data_dir)
        .await
        .context("the data directory cannot be used")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn a_change_sends_what_is_given_and_nothing_else() {
        let change = KeyChange {
            expires_at: Some(None),
            tokens_per_day: Some(NonZeroU64::new(7)),
            ..KeyChange::default()
        };
        let expected = json!({"expires_at": null, "tokens_per_day": 7});
        assert_eq!(change_body(&change), expected);
    }

    #[test]
    fn limits_are_told_in_words() {
        let limits = KeyLimits {
            requests_per_minute: NonZeroU64::new(60),
            tokens_per_minute: None,
            tokens_per_day: NonZeroU64::new(1_000_000),
            max_concurrent_requests: NonZeroU64::new(4),
        };
        assert_eq!(
            in_words(&limits),
            "60 requests/min, 1000000 tokens/day, 4 at once"
        );
        assert_eq!(in_words(&KeyLimits::default()), "");
    }
}
