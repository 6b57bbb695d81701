//! The client against a server of the model kind, and against any bytes.

use super::*;
use proptest::prelude::*;

const HARDWARE: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const SECOND: Duration = Duration::from_secs(1);

fn client() -> Client {
    Client::new(HARDWARE, Random::new(1), Duration::ZERO)
}

/// What a server says to a question, with options besides.
fn answer(question: &[u8], kind: u8, options: &[u8]) -> Vec<u8> {
    let mut answer = question[..240].to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&[10, 0, 0, 5]);
    answer.extend([KIND, 1, kind, SERVER, 4, 10, 0, 0, 1]);
    answer.extend([MASK, 4, 255, 255, 255, 0]);
    answer.extend([LASTS, 4, 0, 0, 0, 100]);
    answer.extend(options);
    answer.push(END);
    answer
}

fn sent(step: &Step) -> &[u8] {
    &step.send.as_ref().unwrap().0
}

fn kind(datagram: &[u8]) -> u8 {
    assert_eq!(datagram[240], KIND);
    datagram[242]
}

fn leased(step: Step) -> (Lease, Duration) {
    match step.change {
        Some(Change::Leased(lease, since)) => (*lease, since),
        other => panic!("{other:?}"),
    }
}

fn bound(client: &mut Client, options: &[u8]) -> Lease {
    let discover = client.step(Duration::ZERO);
    assert_eq!(kind(sent(&discover)), DISCOVER);
    let request = client.hear(&answer(sent(&discover), OFFER, options), SECOND);
    assert_eq!(kind(sent(&request)), REQUEST);
    assert_eq!(request.send.as_ref().unwrap().1, Ipv4Addr::BROADCAST);
    // what is offered, of the one that offered it
    let named = [WANTED_ADDRESS, 4, 10, 0, 0, 5, SERVER, 4, 10, 0, 0, 1];
    assert!(sent(&request).windows(12).any(|at| at == named));
    let step = client.hear(&answer(sent(&request), ACKNOWLEDGE, options), SECOND * 2);
    let (lease, since) = leased(step);
    assert_eq!(since, SECOND);
    lease
}

#[test]
fn a_name_that_the_kernel_would_not_take_is_none() {
    for (bytes, is_name) in [(63, true), (65, false)] {
        // of two labels, or it would be no name at all
        let mut name = vec![b'a'; bytes];
        name[1] = b'.';
        let option = [&[HOSTNAME, bytes as u8][..], &name].concat();
        let lease = bound(&mut client(), &option);
        assert_eq!(lease.hostname.is_some(), is_name, "{bytes}");
    }
}

#[test]
fn a_lease_holds_all_that_the_server_says() {
    let options = [
        &[ROUTER, 4, 10, 0, 0, 254, DNS, 8, 10, 0, 0, 2, 10, 0, 0, 3][..],
        &[NTP, 4, 10, 0, 0, 4, MTU, 2, 5, 220, HOSTNAME, 3],
        b"log",
        &[DOMAIN, 10],
        b"example.or",
        // the rest of it in a second piece
        &[DOMAIN, 2, b'g', 0],
    ]
    .concat();
    let lease = bound(&mut client(), &options);
    assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(lease.prefix, 24);
    assert_eq!(
        lease.routes,
        [Route::default_by(Ipv4Addr::new(10, 0, 0, 254))]
    );
    assert_eq!(
        lease.dns,
        [[10, 0, 0, 2].into(), Ipv4Addr::new(10, 0, 0, 3)]
    );
    assert_eq!(lease.ntp, [Ipv4Addr::new(10, 0, 0, 4)]);
    assert_eq!(lease.mtu, Some(1500));
    assert_eq!(lease.hostname.as_deref(), Some("log"));
    assert_eq!(lease.domain.as_deref(), Some("example.org"));
    let times = (lease.renew, lease.rebind, lease.lasts);
    assert_eq!(times, (SECOND * 50, SECOND * 175 / 2, SECOND * 100));
}

#[test]
fn routes_take_the_place_of_the_router() {
    let options = [
        &[ROUTER, 4, 10, 0, 0, 254][..],
        &[CLASSLESS_ROUTES, 14, 0, 10, 0, 0, 253],
        &[32, 168, 63, 129, 16, 10, 0, 0, 1],
    ]
    .concat();
    let lease = bound(&mut client(), &options);
    let host = Route {
        destination: Ipv4Addr::new(168, 63, 129, 16),
        prefix: 32,
        gateway: Ipv4Addr::new(10, 0, 0, 1),
    };
    let default = Route::default_by(Ipv4Addr::new(10, 0, 0, 253));
    assert_eq!(lease.routes, [default, host]);
}

#[test]
fn names_that_would_break_a_file_are_not_taken() {
    let options = [&[DOMAIN, 14][..], b"a\nnameserver 1", &[HOSTNAME, 2], b"a/"].concat();
    let lease = bound(&mut client(), &options);
    assert_eq!((lease.domain, lease.hostname), (None, None));
}

#[test]
fn silence_is_answered_by_longer_waits() {
    let mut client = client();
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let step = client.step(now);
        assert_eq!(kind(sent(&step)), DISCOVER);
        waits.push((client.next() - now).as_secs_f64());
        now = client.next();
    }
    for (wait, about) in waits.iter().zip([4, 8, 16, 32, 64, 64, 64, 64]) {
        assert!((wait - f64::from(about)).abs() <= 1.0, "{waits:?}");
    }
}

#[test]
fn an_offer_that_is_not_kept_is_given_up() {
    let mut client = client();
    let discover = client.step(Duration::ZERO);
    client.hear(&answer(sent(&discover), OFFER, &[]), SECOND);
    let kinds: Vec<u8> = (0..5)
        .map(|_| kind(sent(&client.step(client.next()))))
        .collect();
    assert_eq!(kinds, [REQUEST, REQUEST, REQUEST, DISCOVER, DISCOVER]);
}

#[test]
fn a_lease_is_renewed_with_its_server_then_with_any_and_then_lost() {
    let mut client = client();
    let held = bound(&mut client, &[]);
    assert_eq!(client.next(), SECOND * 51);
    assert_eq!(client.step(SECOND * 50), Step::default());
    let renew = client.step(client.next());
    let (datagram, to) = renew.send.unwrap();
    assert_eq!((kind(&datagram), to), (REQUEST, held.server));
    assert_eq!(datagram[12..16], held.address.octets());
    let rebind = client.step(client.next());
    assert_eq!(rebind.send.unwrap().1, Ipv4Addr::BROADCAST);
    assert_eq!(client.next(), SECOND * 101);
    let lost = client.step(client.next());
    assert!(matches!(lost.change, Some(Change::Lost(_))));
    assert_eq!(kind(sent(&lost)), DISCOVER);
}

#[test]
fn a_renewed_lease_counts_from_its_question() {
    let mut client = client();
    bound(&mut client, &[]);
    let renew = client.step(client.next());
    let (_, since) = leased(client.hear(&answer(sent(&renew), ACKNOWLEDGE, &[]), SECOND * 52));
    assert_eq!(since, SECOND * 51);
    assert_eq!(client.next(), SECOND * 101);
}

#[test]
fn a_refused_lease_is_lost_and_asked_for_anew_after_a_while() {
    let mut client = client();
    bound(&mut client, &[]);
    let renew = client.step(client.next());
    let lost = client.hear(&answer(sent(&renew), REFUSE, &[]), SECOND * 52);
    assert!(matches!(lost.change, Some(Change::Lost(_))));
    assert_eq!(client.step(SECOND * 53), Step::default());
    assert_eq!(kind(sent(&client.step(SECOND * 57))), DISCOVER);
}

#[test]
fn a_link_that_comes_back_is_asked_at_once() {
    let mut client = client();
    bound(&mut client, &[]);
    client.link_is_back(SECOND * 10);
    let (_, to) = client.step(SECOND * 10).send.unwrap();
    assert_eq!(to, Ipv4Addr::BROADCAST);
}

#[test]
fn answers_to_others_are_not_heard() {
    let mut client = client();
    let discover = client.step(Duration::ZERO);
    let mut offer = answer(sent(&discover), OFFER, &[]);
    offer[4] ^= 1;
    assert_eq!(client.hear(&offer, SECOND), Step::default());
    offer[4] ^= 1;
    offer[HARDWARE_AT] ^= 1;
    assert_eq!(client.hear(&offer, SECOND), Step::default());
}

#[test]
fn a_datagram_is_found_in_a_packet() {
    let mut packet = vec![0x46, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.resize(24, 0);
    packet.extend([0, 67, 0, 68, 0, 11, 0, 0, 1, 2, 3, 4]);
    assert_eq!(datagram_in(&packet), Some(&[1, 2, 3][..]));
    for (at, wrong) in [(0, 0x66), (9, 6), (6, 0x20), (7, 1), (27, 69), (29, 200)] {
        let mut other = packet.clone();
        other[at] = wrong;
        assert_eq!(datagram_in(&other), None, "{at}");
    }
}

proptest! {
    #[test]
    fn no_packet_is_too_bad_to_be_looked_at(packet: Vec<u8>) {
        let _ = datagram_in(&packet);
    }

    #[test]
    fn any_options_give_a_lease_that_can_be_or_none(
        options: Vec<u8>,
        head in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut client = client();
        let discover = client.step(Duration::ZERO);
        let mut offer = answer(sent(&discover), OFFER, &options);
        for (at, byte) in head.iter().enumerate() {
            offer[44 + at] = *byte;
        }
        offer.splice(240..240, [OVERLOAD, 1, 3]);
        client.hear(&offer, SECOND);
        if let Some(lease) = Answer::read(&offer).and_then(|answer| answer.lease()) {
            prop_assert!(lease.renew < lease.rebind && lease.rebind < lease.lasts);
            prop_assert!(lease.prefix > 0 && lease.prefix <= 32);
            prop_assert!(lease.routes.len() <= ROUTES_MOST && lease.dns.len() <= DNS_MOST);
        }
    }

    #[test]
    fn any_bytes_at_any_time_leave_a_client_that_goes_on(
        datagrams: Vec<(Vec<u8>, u16, bool)>,
    ) {
        let mut client = client();
        let mut now = Duration::ZERO;
        let mut last = client.step(now);
        for (options, pause, is_known) in datagrams {
            now += SECOND * u32::from(pause);
            let bytes = match &last.send {
                Some((question, _)) if is_known => {
                    let kind = [OFFER, ACKNOWLEDGE, REFUSE][usize::from(pause) % 3];
                    answer(question, kind, &options)
                }
                _ => options,
            };
            last = client.hear(&bytes, now);
            if last.send.is_none() {
                last = client.step(now);
            }
            prop_assert!(client.next() > now || last == Step::default());
        }
    }
}
