//! What Azure gives a machine, and what it wants to hear from it.
//!
//! ```text
//! user data     <-- 169.254.169.254   the metadata service; may hold the configuration
//! goal state    <-- 168.63.129.16     the host: who this machine is
//! health: Ready -->                   without it Azure takes the creation for failed
//! ```
//!
//! Both speak plain HTTP on addresses that no one else can have there. Their answers are bounded and
//! read with deadlines; the addresses are arguments, so that tests have servers of their own. The
//! certificates and plug-ins of the goal state are not fetched: nothing here would use them.

mod http;

use crate::firewall::{AZURE_HOST, METADATA};
use crate::smbios;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

/// What every machine of Azure, and no other, has for the asset tag of its chassis.
const ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
const ASSET_TAG_FILE: &str = "/sys/class/dmi/id/chassis_asset_tag";

const USER_DATA: &str = "/metadata/instance/compute/userData?api-version=2021-01-01&format=text";
const GOAL_STATE: &str = "/machine/?comp=goalstate";
const HEALTH: &str = "/machine?comp=health";
const HOST_HEADERS: &str = "x-ms-version: 2012-11-30\r\nx-ms-agent-name: cefline-appliance\r\n";

/// The metadata service asks for patience when it is busy, and right after the start; and the network
/// may come late. Who gives up here has no configuration until somebody restarts the machine: with
/// silence as the answer that is after four minutes.
const TRIES: usize = 60;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// True on a machine of Azure.
#[must_use]
pub fn is_here() -> bool {
    fs::read_to_string(ASSET_TAG_FILE).is_ok_and(|tag| tag.trim() == ASSET_TAG)
}

/// The user data of this machine, if it was given any.
///
/// # Errors
/// The metadata service does not answer, or not as it should.
pub fn user_data() -> Result<Option<Vec<u8>>, Error> {
    user_data_from(at(METADATA), TRY_PAUSE)
}

/// Tells Azure that this machine is there.
///
/// # Errors
/// The host does not answer, or not as it should. Whether to try again is the caller's business.
pub fn report_ready() -> Result<(), Error> {
    report_ready_to(at(AZURE_HOST))
}

fn at(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 80)
}

/// Azure's part did not do as it should.
#[derive(Debug)]
pub enum Error {
    /// It could not be asked.
    Http(SocketAddr, http::Error),
    /// It answered with this status, whose meaning HTTP says.
    Status(SocketAddr, u16),
    /// It answered with something else than the named one.
    Answer(SocketAddr, &'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Http(from, error) => write!(f, "{from}: {error}"),
            Error::Status(from, status) => write!(f, "{from} answered with status {status}"),
            Error::Answer(from, wanted) => write!(f, "{from} answered with no {wanted}"),
        }
    }
}

impl std::error::Error for Error {}

fn user_data_from(service: SocketAddr, pause: Duration) -> Result<Option<Vec<u8>>, Error> {
    let mut tries = 0;
    let body = loop {
        tries += 1;
        let answer = http::exchange(service, "GET", USER_DATA, "Metadata: true\r\n", None);
        match answer {
            Ok(answer) if answer.status == 200 => break answer.body,
            // there is none
            Ok(answer) if answer.status == 404 => return Ok(None),
            Ok(answer) if tries == TRIES || !is_passing(answer.status) => {
                return Err(Error::Status(service, answer.status));
            }
            Err(error) if tries == TRIES => return Err(Error::Http(service, error)),
            Ok(_) | Err(_) => thread::sleep(pause),
        }
    };
    let text: Vec<u8> = body
        .into_iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if text.is_empty() {
        return Ok(None);
    }
    let data = String::from_utf8(text)
        .ok()
        .and_then(|text| smbios::from_base64(&text));
    data.map(Some).ok_or(Error::Answer(service, "base64"))
}

/// Too many questions, gone for a moment, trouble of its own.
fn is_passing(status: u16) -> bool {
    matches!(status, 410 | 429 | 500..)
}

fn report_ready_to(host: SocketAddr) -> Result<(), Error> {
    let ask = |method, path, headers, body| {
        let answer = http::exchange(host, method, path, headers, body);
        let answer = answer.map_err(|error| Error::Http(host, error))?;
        match answer.status {
            200..300 => Ok(answer.body),
            status => Err(Error::Status(host, status)),
        }
    };
    let goal_state = ask("GET", GOAL_STATE, HOST_HEADERS, None)?;
    let report = String::from_utf8(goal_state)
        .ok()
        .and_then(|goal_state| report_for(&goal_state))
        .ok_or(Error::Answer(host, "goal state"))?;
    let headers = format!("{HOST_HEADERS}Content-Type: text/xml;charset=utf-8\r\n");
    ask("POST", HEALTH, &headers, Some(report.as_bytes()))?;
    Ok(())
}

/// "Ready", from the machine that the goal state is for.
fn report_for(goal_state: &str) -> Option<String> {
    let incarnation = element(goal_state, "Incarnation")?;
    let container = element(goal_state, "ContainerId")?;
    let instance = element(goal_state, "InstanceId")?;
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <Health><GoalStateIncarnation>{incarnation}</GoalStateIncarnation>\
         <Container><ContainerId>{container}</ContainerId>\
         <RoleInstanceList><Role><InstanceId>{instance}</InstanceId>\
         <Health><State>Ready</State></Health></Role></RoleInstanceList>\
         </Container></Health>"
    ))
}

/// The text of the first element of this name; its names are long and its texts plain, so that no
/// reader of XML is needed to find them.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    // it is written into XML again
    let is_plain = !text.is_empty() && !text.contains(['<', '>', '"']);
    is_plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    const STATE: &str = "<?xml version=\"1.0\"?><GoalState><Version>2012-11-30</Version>\
        <Incarnation>3</Incarnation><Container><ContainerId>c-1</ContainerId><RoleInstanceList>\
        <RoleInstance><InstanceId>_i.2</InstanceId><State>Started</State></RoleInstance>\
        </RoleInstanceList></Container></GoalState>";

    /// Answers one connection after the other with these, and gives what it was asked.
    fn server(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = Vec::new();
                let mut piece = [0; 512];
                loop {
                    let length = stream.read(&mut piece).unwrap();
                    question.extend(&piece[..length]);
                    let text = str::from_utf8(&question).unwrap();
                    if text.contains("\r\n\r\n")
                        && (!text.starts_with("POST") || text.ends_with("</Health>"))
                    {
                        break;
                    }
                }
                asked.push(String::from_utf8(question).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        (address, thread)
    }

    fn answer(status: u16, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status} So\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[test]
    fn user_data_is_asked_for_and_decoded() {
        let (address, asked) = server(vec![answer(200, "aGVs\nbG8=")]);
        let data = user_data_from(address, Duration::ZERO).unwrap();
        assert_eq!(data.as_deref(), Some(&b"hello"[..]));
        let asked = asked.join().unwrap().remove(0);
        let first = "GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text HTTP/1.1\r\n";
        assert!(asked.starts_with(first), "{asked}");
        assert!(asked.contains("\r\nMetadata: true\r\n"), "{asked}");
    }

    #[test]
    fn a_machine_may_have_no_user_data() {
        for nothing in [answer(200, ""), answer(404, "no")] {
            let (address, _) = server(vec![nothing]);
            assert_eq!(user_data_from(address, Duration::ZERO).unwrap(), None);
        }
    }

    #[test]
    fn a_busy_service_is_asked_again_and_a_refusal_is_told() {
        let (address, _) = server(vec![answer(429, ""), answer(503, ""), answer(200, "aGk=")]);
        let data = user_data_from(address, Duration::ZERO).unwrap();
        assert_eq!(data.as_deref(), Some(&b"hi"[..]));
        let (address, _) = server(vec![answer(400, "")]);
        let error = user_data_from(address, Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} answered with status 400")
        );
        let (address, _) = server(vec![answer(200, "*")]);
        let error = user_data_from(address, Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} answered with no base64")
        );
    }

    #[test]
    fn a_service_that_comes_late_is_waited_for() {
        let mut answers = vec![answer(503, ""); 30];
        answers.push(answer(200, "aGk="));
        let (address, _) = server(answers);
        let data = user_data_from(address, Duration::ZERO).unwrap();
        assert_eq!(data.as_deref(), Some(&b"hi"[..]));
    }

    #[test]
    fn the_report_is_of_the_machine_that_the_goal_state_names() {
        let (address, asked) = server(vec![answer(200, STATE), answer(200, "")]);
        report_ready_to(address).unwrap();
        let asked = asked.join().unwrap();
        assert!(asked[0].starts_with("GET /machine/?comp=goalstate HTTP/1.1\r\n"));
        assert!(asked[1].starts_with("POST /machine?comp=health HTTP/1.1\r\n"));
        for header in [
            "x-ms-version: 2012-11-30",
            "Content-Type: text/xml;charset=utf-8",
        ] {
            assert!(
                asked[1].contains(&format!("\r\n{header}\r\n")),
                "{}",
                asked[1]
            );
        }
        for part in [
            "<GoalStateIncarnation>3</GoalStateIncarnation>",
            "<ContainerId>c-1</ContainerId>",
            "<InstanceId>_i.2</InstanceId>",
            "<State>Ready</State>",
        ] {
            assert!(asked[1].contains(part), "{}", asked[1]);
        }
    }

    #[test]
    fn a_goal_state_that_is_none_is_told() {
        let (address, _) = server(vec![answer(200, "<a/>")]);
        let error = report_ready_to(address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} answered with no goal state")
        );
    }

    proptest! {
        #[test]
        fn no_goal_state_is_too_bad_to_be_read(text: String) {
            let _ = report_for(&text);
            let framed = format!(
                "<Incarnation>{text}</Incarnation><ContainerId>1</ContainerId><InstanceId>2</InstanceId>"
            );
            if let Some(report) = report_for(&framed) {
                prop_assert_eq!(report.matches("<Health>").count(), 2);
            }
        }
    }
}
