//! Keys, signatures, and whose of them count.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use portcullis_gate::RuleSet;
use portcullis_server::RULESET_TYPE;
use portcullis_sign::{Envelope, MEDIA_TYPE, PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::envelope::{self, Beside};
use super::{List, mistakes_in, version_of};
use crate::api_client::{ApiClient, RuleMistake};
use crate::args::signing::{
    ApproveArgs, KeygenArgs, SignArgs, SignersAddArgs, SignersListArgs, SignersRevokeArgs,
};
use crate::output::{self, table, utc};

/// Digits of a key's id that tables show.
const ID_SHOWN: usize = 16;

/// A new key in two files.
#[derive(Debug, Serialize)]
struct NewKey {
    id: String,
    private_key: String,
    public_key: String,
}

pub(super) fn keygen(args: &KeygenArgs) -> Result<()> {
    let key = SecretKey::generate()?;
    let mut public_path = args.out.clone().into_os_string();
    public_path.push(".pub");
    // The public one first: if its name is taken, no private key is left without it.
    write_new(Path::new(&public_path), &key.public().to_pem(), 0o644)?;
    write_new(&args.out, &key.to_pem(), 0o600).inspect_err(|_| {
        // Made a moment ago; if it stays, the next try says so.
        let _ = std::fs::remove_file(&public_path);
    })?;
    let made = NewKey {
        id: key.public().id().to_string(),
        private_key: args.out.display().to_string(),
        public_key: Path::new(&public_path).display().to_string(),
    };
    args.output.show(&made, |made| {
        format!(
            "key          {}\nprivate key  {} (yours alone)\npublic key   {}\n\
             An admin lets it sign: portcullis rules signers add {} --name YOU --role author",
            made.id, made.private_key, made.public_key, made.public_key
        )
    })
}

/// Never over something that is there: a key that is gone cannot be made again.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let write = || options.open(path)?.write_all(text.as_bytes());
    write().with_context(|| format!("{} cannot be made; choose another name", path.display()))
}

#[derive(Debug, Serialize)]
struct Signed {
    envelope: String,
    key: String,
    digest: String,
    signatures: usize,
    /// There were signatures of what the file said before.
    replaced: bool,
}

pub(super) fn sign(args: &SignArgs) -> Result<ExitCode> {
    let file = &args.file;
    let source = envelope::read(file)?;
    let set = match RuleSet::load(&source) {
        Ok(set) => set,
        Err(errors) => {
            let mistakes: Vec<_> = errors.0.into_iter().map(RuleMistake::from).collect();
            output::line(mistakes_in(&file.display().to_string(), &mistakes))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let key = read_key(&args.key)?;
    let (mut signed, replaced) = match envelope::beside(file, &source)? {
        Beside::Of(envelope) => (envelope, false),
        Beside::Nothing => (unsigned(source), false),
        Beside::OfOtherBytes => (unsigned(source), true),
    };
    signed.sign(&key);
    let told = Signed {
        envelope: envelope::write(file, &signed)?.display().to_string(),
        key: key.public().id().to_string(),
        digest: set.digest().to_owned(),
        signatures: signed.signatures().len(),
        replaced,
    };
    args.output.show(&told, |told| {
        let note = if told.replaced {
            "\nThe file was changed since it was signed last: those signatures are gone."
        } else {
            ""
        };
        let (name, version) = (set.name(), set.version());
        format!(
            "{name}@{version} ({}) is signed by key {}: {} holds {} signature(s){note}",
            told.digest, told.key, told.envelope, told.signatures
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn unsigned(source: Vec<u8>) -> Envelope {
    Envelope::new(RULESET_TYPE, source, Vec::new())
}

fn read_key(path: &Path) -> Result<SecretKey> {
    let place = path.display();
    let pem = std::fs::read_to_string(path).with_context(|| format!("{place} cannot be read"))?;
    SecretKey::from_pem(&pem).with_context(|| format!("{place} cannot be used"))
}

/// Signs what the server has, once it is seen to be the version that was named.
pub(super) async fn approve(server: &ApiClient, args: &ApproveArgs) -> Result<()> {
    let key = read_key(&args.key)?;
    let (name, version) = version_of(&args.ruleset)?;
    let path = ["v1", "rulesets", name, "versions", &version];
    let fetched: Value = server.get(&[&path[..], &["envelope"]].concat()).await?;
    let mut envelope = Envelope::from_json(fetched.to_string().as_bytes())?;
    let set = RuleSet::load(envelope.unverified_payload())
        .context("what the server has is no rule set that can be signed")?;
    if envelope.payload_type() != RULESET_TYPE
        || set.name() != name
        || set.version().to_string() != version
    {
        let (found, number) = (set.name(), set.version());
        bail!("the server gave {found}@{number} instead of {name}@{version}: nothing is signed");
    }
    envelope.sign(&key);
    let path = [&path[..], &["signatures"]].concat();
    let body = envelope.to_json().into_bytes();
    let (_, told) = server.post_file::<Value>(&path, body, MEDIA_TYPE).await?;
    args.output.show(&told, |_| {
        let (digest, id) = (set.digest(), key.public().id());
        format!("{name}@{version} ({digest}) is signed by key {id}")
    })
}

/// A signer as the server tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct Signer {
    id: String,
    name: String,
    role: String,
    rulesets: Option<Vec<String>>,
    created: i64,
    revoked: Option<i64>,
    distrusted: bool,
}

pub(super) async fn add_signer(server: &ApiClient, args: &SignersAddArgs) -> Result<()> {
    let place = args.public_key.display();
    let pem = std::fs::read_to_string(&args.public_key)
        .with_context(|| format!("{place} cannot be read"))?;
    let key = PublicKey::from_pem(&pem).with_context(|| format!("{place} cannot be used"))?;
    let only = (!args.rulesets.is_empty()).then_some(&args.rulesets);
    let fields = json!({
        "name": args.name, "role": args.role, "rulesets": only, "public_key": key.to_pem(),
    });
    let added: Signer = server.post(&["v1", "signers"], &fields).await?;
    args.output.show(&added, |added| {
        format!(
            "{} may sign {} as {}: key {}",
            added.name,
            scope(added),
            added.role,
            added.id
        )
    })
}

fn scope(signer: &Signer) -> String {
    match &signer.rulesets {
        None => "any rule set".to_owned(),
        Some(names) => names.join(", "),
    }
}

pub(super) async fn list_signers(server: &ApiClient, args: &SignersListArgs) -> Result<()> {
    let signers = server.get::<List<Signer>>(&["v1", "signers"]).await?.data;
    args.output.show(&signers, |signers| {
        let rows = signers.iter().map(|signer| {
            let revoked = signer.revoked.map(utc).unwrap_or_default();
            let note = if signer.distrusted {
                ", distrusted"
            } else {
                ""
            };
            [
                signer.id.chars().take(ID_SHOWN).collect(),
                signer.name.clone(),
                signer.role.clone(),
                scope(signer),
                utc(signer.created),
                format!("{revoked}{note}"),
            ]
        });
        let if_empty = "nobody may sign yet; `portcullis rules signers add KEY.pub` lets somebody";
        let heads = [
            "ID",
            "NAME",
            "ROLE",
            "SIGNS",
            "ADDED (UTC)",
            "REVOKED (UTC)",
        ];
        table(heads, rows, if_empty)
    })
}

pub(super) async fn revoke_signer(server: &ApiClient, args: &SignersRevokeArgs) -> Result<()> {
    let signers = server.get::<List<Signer>>(&["v1", "signers"]).await?.data;
    let named: Vec<_> = signers
        .iter()
        .filter(|signer| signer.id.starts_with(&args.id))
        .collect();
    let [signer] = named.as_slice() else {
        let (id, count) = (&args.id, named.len());
        bail!("{id} is the beginning of {count} signers' ids; see `portcullis rules signers list`");
    };
    let query: &[_] = if args.distrust {
        &[("distrust", "true")]
    } else {
        &[]
    };
    server.delete(&["v1", "signers", &signer.id], query).await?;
    let told = json!({"id": signer.id, "revoked": true, "distrusted": args.distrust});
    args.output.show(&told, |_| {
        let (name, id) = (&signer.name, &signer.id);
        match args.distrust {
            true => format!("nothing that {name} signed with key {id} counts any more"),
            false => format!("{name} signs nothing more with key {id}; what is in force stays"),
        }
    })
}
