//! A deployment's outputs to a configuration.

use crate::{azure, printed};
use cefline::config::{self, Config, Machine};
use serde_json::{Value, json};

const FIRST: &str = "dcr-00000000000000000000000000000001";
const SECOND: &str = "dcr-00000000000000000000000000000002";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "66666666-7777-8888-9999-000000000000";

fn own(name: &str) -> String {
    format!("https://{name}-x1y2-westeurope.logs.z1.ingest.monitor.azure.com")
}

/// As the Azure CLI prints them.
fn outputs(rules: &[(&str, &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(id, endpoint)| json!({"id": id, "endpoint": endpoint}))
        .collect();
    json!({
        "rules": {"type": "Array", "value": rules},
        "stream": {"type": "String", "value": "Custom-CommonSecurityLog"},
        "tenantId": {"type": "String", "value": TENANT},
    })
}

fn settings(outputs: &Value, more: &[&str]) -> String {
    let arguments = [&["settings", "-"], more].concat();
    printed(&arguments, &outputs.to_string())
}

fn read(text: &str) -> Config {
    match config::parse(text, &Machine::read()) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Ids and the endpoints that each is sent to.
fn destinations(config: &Config) -> Vec<(String, String)> {
    let sentinel = &config.sentinel;
    sentinel
        .rules
        .iter()
        .map(|rule| {
            let endpoint = rule.endpoint.as_ref().unwrap_or(&sentinel.endpoint);
            (rule.id.as_str().to_owned(), endpoint.as_str().to_owned())
        })
        .collect()
}

#[test]
fn one_rule_gives_the_smallest_configuration() {
    let text = settings(
        &outputs(&[(FIRST, &own("cefline-01"))]),
        &["--client", CLIENT],
    );
    let expected = format!(
        "[listen]\ntcp = [\"0.0.0.0:514\"]\n\n[sentinel]\nendpoint = \"{}\"\nrules = [\"{FIRST}\"]\n\
         stream = \"Custom-CommonSecurityLog\"\n\n[sentinel.identity]\nkind = \"client_secret\"\n\
         tenant_id = \"{TENANT}\"\nclient_id = \"{CLIENT}\"\n\
         secret_file = \"/etc/cefline/client-secret\"   # the secret's value, mode 640\n",
        own("cefline-01")
    );
    assert_eq!(text, expected);
    read(&text);
}

#[test]
fn rules_with_an_endpoint_of_their_own_each_are_told_with_it() {
    let pairs = [(FIRST, own("cefline-01")), (SECOND, own("cefline-02"))];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(id, url)| (*id, url.as_str())).collect();
    let text = settings(&outputs(&pairs), &[]);
    let expected: Vec<(String, String)> = pairs
        .iter()
        .map(|(id, url)| ((*id).to_owned(), (*url).to_owned()))
        .collect();
    assert_eq!(destinations(&read(&text)), expected);
    assert!(!text.contains("\nendpoint"), "{text}");
    assert!(text.contains("# to fill in: the application (client) id"));
}

#[test]
fn rules_behind_one_endpoint_share_it() {
    let endpoint = "https://cefline-dce-a1b2.westeurope-1.ingest.monitor.azure.com";
    let text = settings(&outputs(&[(FIRST, endpoint), (SECOND, endpoint)]), &[]);
    let found = destinations(&read(&text));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|(_, url)| url == endpoint));
    assert_eq!(text.matches("https://").count(), 1, "{text}");
}

#[test]
fn everything_that_the_azure_cli_prints_is_taken() {
    let outputs = outputs(&[(FIRST, &own("a"))]);
    let alone = settings(&outputs, &[]);
    let whole = json!({
        "id": "/subscriptions/x/resourceGroups/y/providers/Microsoft.Resources/deployments/z",
        "name": "cefline",
        "properties": {"provisioningState": "Succeeded", "outputs": outputs, "parameters": {}},
    });
    assert_eq!(settings(&whole, &[]), alone);
    assert_eq!(settings(&json!([whole]), &[]), alone);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployed.json");
    std::fs::write(&file, outputs.to_string()).unwrap();
    assert_eq!(printed(&["settings", file.to_str().unwrap()], ""), alone);
}

#[test]
fn answers_that_are_given_stand_in_it() {
    let all = outputs(&[(FIRST, &own("a"))]);
    let text = settings(
        &all,
        &[
            "--tenant",
            "example.com",
            "--client",
            CLIENT,
            "--listen",
            "127.0.0.1:1514",
        ],
    );
    let config = read(&text);
    assert_eq!(config.listen.tcp, ["127.0.0.1:1514".parse().unwrap()]);
    assert!(text.contains("tenant_id = \"example.com\""));
    let managed = settings(&all, &["--identity", "managed_identity"]);
    assert!(managed.ends_with("[sentinel.identity]\nkind = \"managed_identity\"\n"));
    let by_user = settings(
        &all,
        &["--identity", "managed_identity", "--client", CLIENT],
    );
    assert!(by_user.contains(&format!("client_id = \"{CLIENT}\"")));
}

#[test]
fn what_is_no_deployment_of_ours_is_refused_with_what_was_expected() {
    let good = || outputs(&[(FIRST, &own("a"))]);
    let without = |name: &str| {
        let mut all = good();
        all.as_object_mut().unwrap().remove(name);
        all
    };
    let failed = json!({"properties": {"provisioningState": "Failed", "outputs": good()}});
    let mut hostile = good();
    hostile["stream"]["value"] = "Custom-x\"\n[sentinel.identity]".into();
    for (input, part) in [
        ("", "this is not JSON"),
        ("no json", "this is not JSON"),
        ("null", "there are no outputs"),
        ("\"text\"", "there are no outputs"),
        ("[]", "a list of 0 deployments"),
        ("{}", "there is no output \"stream\""),
        (&failed.to_string(), "provisioningState is \"Failed\""),
        ("{\"properties\": {}}", "there are no outputs"),
        (
            &without("rules").to_string(),
            "there is no output \"rules\"",
        ),
        (
            &without("stream").to_string(),
            "there is no output \"stream\"",
        ),
        (
            &json!({"stream": "x", "rules": []}).to_string(),
            "has no \"value\"",
        ),
        (&outputs(&[]).to_string(), "not a list of rules"),
        (
            &outputs(&[("", &own("a"))]).to_string(),
            "rule 1 of the output \"rules\" has no \"id\"",
        ),
        (&outputs(&[(FIRST, "")]).to_string(), "has no \"endpoint\""),
        (
            &outputs(&[("cefline-01", &own("a"))]).to_string(),
            "not an immutable id",
        ),
        (
            &outputs(&[(FIRST, "https://evil.example")]).to_string(),
            "a host outside of Azure Monitor",
        ),
        (&hostile.to_string(), "not a text"),
    ] {
        let (code, out, why) = azure(&["settings", "-"], input);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{input}: {why}");
        assert!(why.contains(part), "{input}: {why}");
        assert!(why.starts_with("cefline: standard input: "), "{why}");
    }
    let (code, _, why) = azure(&["settings", "/no/such/file"], "");
    assert_eq!(code, Some(2));
    assert!(why.contains("/no/such/file"), "{why}");
    let long = format!("\"{}\"", "x".repeat(4 << 20));
    let (code, _, why) = azure(&["settings", "-"], &long);
    assert_eq!(code, Some(2));
    assert!(why.contains("too long"), "{why}");
}
