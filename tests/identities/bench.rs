//! An emulator, and the way to a token by a configuration.

use cefline::auth::{Auth, Denied, Permit};
use cefline::client::{Clients, Trust};
use cefline::clock::Clock;
use cefline::config::{Config, Machine, parse};
use cefline::emulator::{self, Emulator, Options};
use cefline::metrics::Counters;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// An emulator with TLS, and a folder for the files of its client.
pub(crate) struct Bench {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    counters: Arc<Counters>,
}

impl Bench {
    pub(crate) fn start(options: Options) -> Bench {
        Bench::at(options, Clock::start())
    }

    pub(crate) fn at(options: Options, clock: Clock) -> Bench {
        let emulator = emulator::start(options, clock).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), emulator.ca_pem()).unwrap();
        Bench {
            emulator,
            clock,
            folder,
            counters: Arc::default(),
        }
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The configuration with these lines in `[sentinel]` and `[sentinel.identity]`. `FOLDER`,
    /// `URL`, `CONTROL`, `TENANT` and `CLIENT` stand for those of the bench.
    pub(crate) fn text(&self, sentinel: &str, identity: &str) -> String {
        let options = self.emulator.options();
        let text = format!(
            "[listen]\ntcp = [\"127.0.0.1:1\"]\n[map]\ncollector_host_name = \"collector\"\n\
             [sentinel]\nendpoint = \"URL\"\nrules = {rules:?}\nca_file = \"FOLDER/ca.pem\"\n\
             {sentinel}\n[sentinel.identity]\n{identity}\n",
            rules = options.rules,
        );
        text.replace("FOLDER", &self.folder.path().display().to_string())
            .replace("URL", &self.emulator.url())
            .replace("CONTROL", &self.emulator.control_url())
            .replace("TENANT", &options.tenant_id)
            .replace("CLIENT", &options.client_id)
    }

    pub(crate) fn config(&self, sentinel: &str, identity: &str) -> Config {
        parse(&self.text(sentinel, identity), &Machine::read()).unwrap()
    }

    /// What asks for tokens by that configuration.
    pub(crate) fn auth(&self, sentinel: &str, identity: &str) -> Arc<Auth> {
        let config = self.config(sentinel, identity);
        let trust = Trust::new(&config.sentinel).unwrap();
        let clients = Clients::new(&trust).unwrap();
        Arc::new(Auth::new(config.sentinel.identity, clients, self.clock))
    }

    /// One try for a token.
    pub(crate) async fn permit(&self, auth: &Arc<Auth>) -> Result<Permit, Denied> {
        auth.permit(&self.counters).await
    }

    /// One try by that configuration: the token, or what is wrong.
    pub(crate) async fn ask(&self, identity: &str) -> Result<String, String> {
        let auth = self.auth("", identity);
        match self.permit(&auth).await {
            Ok(permit) => Ok(permit.header.to_str().unwrap().to_owned()),
            Err(denied) => Err(denied.refusal.to_string()),
        }
    }

    /// A client that trusts the emulator.
    pub(crate) fn client(&self) -> reqwest::Client {
        let config = self.config("", "kind = \"managed_identity\"");
        let trust = Trust::new(&config.sentinel).unwrap();
        cefline::client::client(&trust, 0).unwrap()
    }

    /// The status that the service gives to rows with such a token.
    pub(crate) async fn upload(&self, token: &str) -> u16 {
        let client = self.client();
        let rule = self.emulator.options().rules[0].clone();
        let url = format!(
            "{}/dataCollectionRules/{rule}/streams/Custom-CommonSecurityLog?api-version=2023-01-01",
            self.emulator.url()
        );
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("authorization", token)
            .body("[{\"Message\":\"x\"}]");
        request.send().await.unwrap().status().as_u16()
    }
}
