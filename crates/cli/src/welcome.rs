//! What `portcullis serve` prints when it is ready: address, keys, and what to try.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use portcullis_server::ServedEmbedder;
use portcullis_store::{DeploymentName, Store};

use crate::clock::unix_now;
use crate::config::Config;
use crate::demo::{self, Demo};
use crate::model::Model;

/// The keys that there are to tell of.
pub(crate) enum Keys {
    /// The demo provides its own.
    Demo(Demo),
    /// An operator makes them.
    Own { usable: usize },
}

impl Keys {
    /// Provides the demo's keys and rules if it is the demo that is served, and counts otherwise.
    ///
    /// # Errors
    /// The store cannot be used.
    pub(crate) async fn prepare(
        config: &Config,
        store: &dyn Store,
        deployment: &DeploymentName,
    ) -> Result<Self> {
        if config.model.name.is_none() {
            let demo = demo::prepare(store, &config.data_dir, deployment, unix_now()).await?;
            return Ok(Self::Demo(demo));
        }
        let keys = store.list_keys().await?;
        Ok(Self::Own {
            usable: keys.iter().filter(|key| key.is_usable(unix_now())).count(),
        })
    }
}

/// The whole text.
pub(crate) struct Welcome<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) started_in: Duration,
    pub(crate) model: &'a Model,
    pub(crate) deployment: &'a DeploymentName,
    pub(crate) embedder: Option<&'a ServedEmbedder>,
    pub(crate) keys: &'a Keys,
    pub(crate) config: &'a Config,
    /// Entries in the log; `None` where nothing is recorded.
    pub(crate) num_entries: Option<u64>,
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.started_in.as_secs_f32();
        let data_dir = self.config.data_dir.display();
        writeln!(
            f,
            "Portcullis is ready at {}://{} ({seconds:.1} s)",
            self.scheme(),
            self.address
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "  model          {} ({}: {})",
            self.deployment,
            self.model.root,
            self.model.summary()
        )?;
        if let Some(embedder) = self.embedder {
            let (name, root) = (&embedder.deployment, &embedder.root);
            writeln!(f, "  embeddings     {name} ({root}, on the CPU)")?;
        }
        writeln!(f, "  data           {data_dir}")?;
        writeln!(f, "  records        {}", self.records())?;
        match self.keys {
            Keys::Demo(demo) => self.write_demo(f, demo),
            Keys::Own { usable: 0 } => self.write_no_keys(f),
            Keys::Own { usable } => write!(
                f,
                "  keys           {usable} in use; another: {}",
                self.make_key("inference")
            ),
        }
    }
}

impl Welcome<'_> {
    fn scheme(&self) -> &'static str {
        match self.config.server.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    fn records(&self) -> String {
        match self.num_entries {
            Some(entries) => {
                format!("{entries} entries in the log; `portcullis audit show` lists calls")
            }
            None => "off".to_owned(),
        }
    }

    fn write_demo(&self, f: &mut fmt::Formatter<'_>, demo: &Demo) -> fmt::Result {
        match &demo.new_admin_key {
            Some(key) => {
                writeln!(f, "  admin key      {key}")?;
                writeln!(f, "                 (shown this once; note it)")?;
            }
            None => writeln!(
                f,
                "  admin key      shown at the first start; another: {}",
                self.make_key("admin")
            )?,
        }
        writeln!(f, "  inference key  {}", demo.inference_key)?;
        writeln!(
            f,
            "                 (of the demo alone, which keeps it in {})",
            demo.key_file.display()
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "Ask the demo bank something that its rule set has a say in:"
        )?;
        writeln!(f)?;
        write!(f, "{}", self.curl(demo))
    }

    fn write_no_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without = match self.address.ip().is_loopback() {
            true => "none yet: whoever is on this machine may use the model",
            false => "none yet: nobody may use the model",
        };
        writeln!(f, "  keys           {without}")?;
        write!(f, "                 make one: {}", self.make_key("admin"))
    }

    fn make_key(&self, role: &str) -> String {
        let data_dir = shell_word(&self.config.data_dir.display().to_string());
        format!("portcullis keys create --role {role} --name NAME --data-dir {data_dir}")
    }

    /// Works as it stands when it is pasted into a shell.
    fn curl(&self, demo: &Demo) -> String {
        let body = serde_json::json!({
            "model": self.deployment,
            "messages": [{"role": "user", "content": demo::QUESTION}],
            "seed": demo::SEED,
        });
        format!(
            "curl -s {}://{}/v1/chat/completions -H 'Content-Type: application/json' \\\n  \
             -H 'Authorization: Bearer {}' \\\n  -d {}",
            self.scheme(),
            reachable(self.address),
            demo.inference_key,
            shell_word(&body.to_string()),
        )
    }
}

/// An address that a client here can connect to, also where the server listens on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Quoted, where a shell would make something else of it.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for text in ["/plain/path", "with space", "it's", "$HOME `x` \\ \"", ""] {
            let script = format!("printf %s {}", shell_word(text));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_client_is_sent_where_it_can_connect() {
        let check = |bound: &str, expect: &str| {
            assert_eq!(reachable(bound.parse().unwrap()), expect.parse().unwrap());
        };
        check("0.0.0.0:8000", "127.0.0.1:8000");
        check("[::]:8000", "[::1]:8000");
        check("192.0.2.1:8000", "192.0.2.1:8000");
    }
}
