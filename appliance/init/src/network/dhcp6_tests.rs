//! The client against a server of the model kind, and against any bytes.

use super::*;
use proptest::prelude::*;

const HARDWARE: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const SECOND: Duration = Duration::from_secs(1);
const GIVEN: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 5);
const SERVERS_NAME: [u8; 4] = [0, 3, 0, 1];

fn client(want: Want) -> Client {
    Client::new(HARDWARE, want, Random::new(1), Duration::ZERO)
}

fn put(into: &mut Vec<u8>, code: u16, value: &[u8]) {
    into.extend(code.to_be_bytes());
    into.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    into.extend(value);
}

fn association(status: Option<u16>) -> Vec<u8> {
    let mut value = HARDWARE[2..].to_vec();
    value.extend([0; 8]);
    match status {
        Some(status) => put(&mut value, STATUS, &status.to_be_bytes()),
        None => {
            let mut address = GIVEN.octets().to_vec();
            address.extend(80_u32.to_be_bytes());
            address.extend(100_u32.to_be_bytes());
            put(&mut value, ADDRESS, &address);
        }
    }
    value
}

fn answer(question: &[u8], kind: u8, status: Option<u16>) -> Vec<u8> {
    let mut answer = question[..4].to_vec();
    answer[0] = kind;
    put(&mut answer, CLIENT, option(&question[4..], CLIENT).unwrap());
    put(&mut answer, SERVER, &SERVERS_NAME);
    if option(&question[4..], ASSOCIATION).is_some() {
        put(&mut answer, ASSOCIATION, &association(status));
    }
    put(
        &mut answer,
        DNS,
        &Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1).octets(),
    );
    answer
}

fn leased(step: Step) -> (Lease, Duration) {
    match step.change {
        Some(Change::Leased(lease, since)) => (*lease, since),
        other => panic!("{other:?}"),
    }
}

fn bound(client: &mut Client) -> Lease {
    let solicit = client.step(Duration::ZERO).send.unwrap();
    assert_eq!(solicit[0], 1);
    let request = client.hear(&answer(&solicit, ADVERTISE, None), SECOND);
    let request = request.send.unwrap();
    assert_eq!(request[0], 3);
    assert_eq!(option(&request[4..], SERVER), Some(&SERVERS_NAME[..]));
    let (lease, since) = leased(client.hear(&answer(&request, REPLY, None), SECOND * 2));
    assert_eq!(since, SECOND);
    lease
}

#[test]
fn an_address_is_solicited_requested_and_held() {
    let lease = bound(&mut client(Want::Address));
    assert_eq!(lease.address, Some(GIVEN));
    assert_eq!(lease.dns.len(), 1);
    let times = (lease.renew, lease.rebind, lease.lasts);
    assert_eq!(times, (SECOND * 50, SECOND * 80, SECOND * 100));
}

#[test]
fn information_is_one_question_and_one_answer() {
    let mut client = client(Want::Information);
    let question = client.step(Duration::ZERO).send.unwrap();
    assert_eq!(question[0], 11);
    assert_eq!(option(&question[4..], ASSOCIATION), None);
    let (lease, _) = leased(client.hear(&answer(&question, REPLY, None), SECOND));
    assert_eq!((lease.address, lease.dns.len()), (None, 1));
    assert_eq!(client.next(), INFORMATION_LASTS);
}

#[test]
fn a_lease_is_renewed_then_rebound_then_lost() {
    let mut client = client(Want::Address);
    bound(&mut client);
    let mut kinds = Vec::new();
    let lost = loop {
        let now = client.next();
        let step = client.step(now);
        kinds.push(step.send.unwrap()[0]);
        if step.change.is_some() {
            break now;
        }
    };
    kinds.dedup();
    assert_eq!(kinds, [5, 6, 1]);
    assert_eq!(lost, SECOND * 101);
}

#[test]
fn a_server_that_knows_nothing_of_us_ends_the_lease() {
    let mut client = client(Want::Address);
    bound(&mut client);
    let renew = client.step(client.next()).send.unwrap();
    let step = client.hear(&answer(&renew, REPLY, Some(NO_BINDING)), SECOND * 60);
    assert!(matches!(step.change, Some(Change::Lost(_))));
    assert_eq!(client.step(SECOND * 61).send.unwrap()[0], 1);
}

#[test]
fn answers_to_others_are_not_heard() {
    let mut client = client(Want::Address);
    let solicit = client.step(Duration::ZERO).send.unwrap();
    let mut offer = answer(&solicit, ADVERTISE, None);
    offer[3] ^= 1;
    assert_eq!(client.hear(&offer, SECOND), Step::default());
    offer[3] ^= 1;
    offer[17] ^= 1;
    assert_eq!(client.hear(&offer, SECOND), Step::default());
}

proptest! {
    #[test]
    fn any_bytes_at_any_time_leave_a_client_that_goes_on(
        wants_address: bool,
        datagrams: Vec<(Vec<u8>, u16, u8)>,
    ) {
        let want = if wants_address { Want::Address } else { Want::Information };
        let mut client = client(want);
        let mut now = Duration::ZERO;
        let mut last = client.step(now);
        for (bytes, pause, how) in datagrams {
            now += SECOND * u32::from(pause);
            let heard = match &last.send {
                Some(question) if how % 4 != 0 => {
                    let kind = if how & 4 == 0 { ADVERTISE } else { REPLY };
                    let status = (how & 8 != 0).then_some(u16::from(how % 5));
                    let mut answer = answer(question, kind, status);
                    answer.extend(&bytes);
                    if let (true, Some(at)) = (how & 16 != 0, bytes.first()) {
                        let at = usize::from(*at) % answer.len();
                        answer[at] ^= how;
                    }
                    answer
                }
                _ => bytes,
            };
            last = client.hear(&heard, now);
            if let Some(Change::Leased(lease, _)) = &last.change {
                prop_assert!(lease.renew <= lease.rebind && lease.rebind <= lease.lasts);
                prop_assert!(lease.lasts >= LASTS_LEAST && lease.dns.len() <= DNS_MOST);
            }
            if last.send.is_none() {
                last = client.step(now);
            }
            prop_assert!(client.next() > now || last == Step::default());
        }
    }
}
