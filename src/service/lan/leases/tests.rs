//! Addresses and names under a virtual clock, and random histories against the rules that must always hold.

use super::*;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn who(last: u8) -> Who {
    Who::from(mac(last))
}

/// A client with an identifier.
fn named(last: u8, id: &[u8]) -> Who {
    Who::new(mac(last), Some(id))
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, last)
}

fn secs(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

/// 10.0.2.15 to .18, of which .16 is the gateway's and .17 that of host 9, called `board`.
fn leases() -> Leases {
    Leases::new(Pool {
        first: ip(15),
        last: ip(18),
        reserved: vec![ip(16)],
        fixed: vec![Fixed { mac: mac(9), addr: ip(17), name: Some("board".into()) }],
        reserved_names: vec!["gateway".into()],
    })
}

#[test]
fn a_client_keeps_its_address() {
    let mut leases = leases();
    assert_eq!(leases.offer(secs(0), &who(1), None), Some(ip(15)));
    assert_eq!(leases.bind(secs(0), &who(1), ip(15), HOUR, None), Ok(()));
    assert_eq!(leases.offer(secs(1), &who(2), Some(ip(15))), Some(ip(18)), "not another's");
    assert_eq!(leases.offer(secs(1), &who(3), None), None, "none left");
    // it ended long ago, and nobody needed it
    assert_eq!(leases.offer(secs(100_000), &who(1), Some(ip(18))), Some(ip(15)));
}

#[test]
fn the_one_that_is_over_for_longest_goes_first() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"one")).unwrap();
    leases.bind(secs(10), &who(2), ip(18), HOUR, Some(b"two")).unwrap();
    assert_eq!(leases.offer(secs(3599), &who(3), None), None);
    assert_eq!(leases.offer(secs(3605), &who(3), None), Some(ip(15)));
    leases.bind(secs(3605), &who(3), ip(15), HOUR, Some(b"one")).unwrap();
    assert_eq!(leases.by_name(secs(3606), "one"), Some(ip(15)));
    assert_eq!(leases.bind(secs(3606), &who(1), ip(15), HOUR, None), Err(Refused));
    assert_eq!(leases.held(), 2);
}

#[test]
fn a_fixed_host_has_its_own_always() {
    let mut leases = leases();
    assert_eq!(leases.by_name(secs(0), "board"), Some(ip(17)), "even before it asked");
    assert_eq!(leases.name_of(secs(0), ip(17)), Some("board"));
    assert_eq!(leases.offer(secs(0), &who(9), Some(ip(18))), Some(ip(17)));
    assert_eq!(leases.bind(secs(0), &who(9), ip(18), HOUR, None), Err(Refused));
    assert_eq!(leases.bind(secs(0), &who(1), ip(17), HOUR, None), Err(Refused));
    assert_eq!(leases.bind(secs(0), &who(1), ip(16), HOUR, None), Err(Refused), "the gateway's");
    assert_eq!(leases.bind(secs(0), &who(1), ip(19), HOUR, None), Err(Refused), "beyond the pool");
    leases.bind(secs(0), &who(9), ip(17), HOUR, Some(b"other")).unwrap();
    assert_eq!(leases.list(secs(1)).next().unwrap().name.as_deref(), Some("board"));
}

#[test]
fn a_declined_address_is_left_alone_for_a_while() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"one")).unwrap();
    assert!(!leases.decline(secs(1), &who(2), ip(15)), "another's word does not count");
    assert!(leases.decline(secs(1), &who(1), ip(15)));
    assert_eq!(leases.by_name(secs(1), "one"), None);
    assert_eq!(leases.offer(secs(1), &who(1), Some(ip(15))), Some(ip(18)));
    assert_eq!(leases.offer(secs(1), &who(2), Some(ip(15))), None);
    assert_eq!(leases.offer(secs(1000), &who(2), Some(ip(15))), Some(ip(15)));
}

#[test]
fn a_released_address_is_free_and_comes_back() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"one")).unwrap();
    assert!(!leases.release(secs(1), &who(2), ip(15)));
    assert!(leases.release(secs(1), &who(1), ip(15)));
    assert_eq!(leases.list(secs(1)).count(), 0);
    assert_eq!(leases.by_name(secs(1), "one"), None);
    assert_eq!(leases.offer(secs(2), &who(2), None), Some(ip(18)), "fresh ones first");
    assert_eq!(leases.offer(secs(2), &who(1), None), Some(ip(15)));
}

#[test]
fn a_withdrawn_offer_is_anybodys() {
    let mut leases = leases();
    leases.offer(secs(0), &who(1), None);
    leases.offer(secs(0), &who(2), None);
    assert_eq!(leases.offer(secs(1), &who(3), None), None);
    leases.withdraw(secs(1), &who(1));
    assert_eq!(leases.offer(secs(1), &who(3), None), Some(ip(15)));
    leases.bind(secs(1), &who(3), ip(15), HOUR, None).unwrap();
    leases.withdraw(secs(1), &who(3));
    assert_eq!(leases.list(secs(2)).count(), 1, "a lease is no offer");
}

#[test]
fn names_are_unique_and_stay() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"Zephyr")).unwrap();
    leases.bind(secs(0), &who(2), ip(18), HOUR, Some(b"zephyr.local")).unwrap();
    assert_eq!(leases.by_name(secs(1), "zephyr"), Some(ip(15)));
    assert_eq!(leases.by_name(secs(1), "zephyr-2"), Some(ip(18)));
    // a renewal changes nothing, another name does
    leases.bind(secs(2), &who(2), ip(18), HOUR, Some(b"zephyr")).unwrap();
    assert_eq!(leases.name_of(secs(2), ip(18)), Some("zephyr-2"));
    leases.bind(secs(2), &who(2), ip(18), HOUR, Some(b"gateway")).unwrap();
    assert_eq!(leases.name_of(secs(2), ip(18)), Some("gateway-2"), "reserved");
    leases.bind(secs(2), &who(2), ip(18), HOUR, Some(b"board")).unwrap();
    assert_eq!(leases.name_of(secs(2), ip(18)), Some("board-2"), "a fixed host's");
    assert_eq!(leases.by_name(secs(2), "zephyr-2"), None);
}

#[derive(Clone, Debug)]
enum Step {
    Offer(u8, u8),
    Bind(u8, u8, u8),
    Release(u8, u8),
    Withdraw(u8),
    Decline(u8, u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 1u8..12;
    let addr = 13u8..21;
    prop_oneof![
        (client.clone(), addr.clone()).prop_map(|(c, a)| Step::Offer(c, a)),
        (client.clone(), addr.clone(), 0u8..4).prop_map(|(c, a, n)| Step::Bind(c, a, n)),
        (client.clone(), addr.clone()).prop_map(|(c, a)| Step::Release(c, a)),
        client.clone().prop_map(Step::Withdraw),
        (client, addr).prop_map(|(c, a)| Step::Decline(c, a)),
        any::<u16>().prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever clients do, an address and a name are one client's, and only addresses of the pool are given.
    #[test]
    fn no_address_and_no_name_is_given_twice(steps in prop::collection::vec(step(), 0..80)) {
        let mut leases = leases();
        let mut now = Instant::ZERO;
        for step in steps {
            match step {
                Step::Offer(client, addr) => {
                    let got = leases.offer(now, &who(client), Some(ip(addr)));
                    let others = leases.list(now).filter(|lease| lease.mac != mac(client)).map(|lease| lease.addr);
                    prop_assert!(others.into_iter().all(|other| Some(other) != got));
                }
                Step::Bind(client, addr, name) => {
                    let name = [b'a' + name];
                    let _ = leases.bind(now, &who(client), ip(addr), HOUR, Some(&name));
                }
                Step::Release(client, addr) => drop(leases.release(now, &who(client), ip(addr))),
                Step::Withdraw(client) => leases.withdraw(now, &who(client)),
                Step::Decline(client, addr) => drop(leases.decline(now, &who(client), ip(addr))),
                Step::Wait(secs) => now += Duration::from_secs(secs.into()),
            }
            let standing: Vec<_> = leases.list(now).collect();
            let macs: BTreeSet<_> = standing.iter().map(|lease| lease.mac).collect();
            let names: BTreeSet<_> = standing.iter().filter_map(|lease| lease.name.clone()).collect();
            prop_assert_eq!(macs.len(), standing.len());
            prop_assert_eq!(names.len(), standing.iter().filter(|lease| lease.name.is_some()).count());
            for lease in &standing {
                let own = lease.addr == ip(17);
                prop_assert_eq!(own, lease.mac == mac(9));
                prop_assert_eq!(leases.held_by(&lease.who), Some(lease.addr.to_bits()));
                prop_assert!(own || lease.addr == ip(15) || lease.addr == ip(18));
                if let Some(name) = &lease.name {
                    prop_assert_eq!(leases.by_name(now, name), Some(lease.addr));
                }
            }
            prop_assert!(leases.held() <= 3);
            prop_assert_eq!(leases.by_end.len(), leases.held());
            prop_assert!(leases.by_client.len() <= leases.held());
        }
    }
}

#[test]
fn what_another_uses_is_not_given_away() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, None).unwrap();
    leases.hear(secs(1), mac(7), ip(15));
    leases.hear(secs(1), mac(7), ip(18));
    assert_eq!(leases.bind(secs(2), &who(1), ip(15), HOUR, None), Ok(()), "a lease stands, whoever shouts");
    assert_eq!(leases.offer(secs(2), &who(2), Some(ip(18))), None);
    assert_eq!(leases.bind(secs(2), &who(2), ip(18), HOUR, None), Err(Refused));
    assert_eq!(leases.offer(secs(2), &who(7), None), Some(ip(18)), "to who uses it");
    leases.release(secs(3), &who(7), ip(18));
    assert_eq!(leases.offer(secs(60), &who(2), None), None);
    assert_eq!(leases.offer(secs(61), &who(2), None), Some(ip(18)), "it has been silent for a minute");
}

/// RFC 2131, section 2: several hosts behind one MAC are told apart by their client identifiers.
#[test]
fn an_identifier_makes_a_client_of_its_own() {
    let mut leases = leases();
    let (one, two) = (named(1, b"one"), named(1, b"two"));
    leases.bind(secs(0), &one, ip(15), HOUR, Some(b"a")).unwrap();
    assert_eq!(leases.offer(secs(1), &two, Some(ip(15))), Some(ip(18)));
    leases.bind(secs(1), &two, ip(18), HOUR, Some(b"b")).unwrap();
    assert_eq!((leases.by_name(secs(2), "a"), leases.by_name(secs(2), "b")), (Some(ip(15)), Some(ip(18))));
    assert!(!leases.release(secs(2), &two, ip(15)) && !leases.decline(secs(2), &two, ip(15)), "not its own");
    // the same identifier of another machine, which is a copy
    assert_eq!(leases.offer(secs(2), &named(2, b"one"), None), None);
    assert_eq!(leases.offer(secs(2), &one, None), Some(ip(15)));
}

/// A boot loader gives no identifier, the system behind it does: one board, one address.
#[test]
fn a_client_without_an_identifier_is_the_one_of_its_mac() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"loader")).unwrap();
    assert_eq!(leases.offer(secs(1), &named(1, b"system"), None), Some(ip(15)));
    leases.bind(secs(1), &named(1, b"system"), ip(15), HOUR, Some(b"board1")).unwrap();
    assert_eq!(leases.offer(secs(2), &who(1), None), Some(ip(15)), "again after a reset");
    assert_eq!(leases.offer(secs(2), &named(1, b"other"), None), Some(ip(18)));
    assert_eq!((leases.by_name(secs(2), "loader"), leases.by_name(secs(2), "board1")), (None, Some(ip(15))));
    // and a given host has what it was given, whoever runs on it
    leases.bind(secs(3), &named(9, b"loader"), ip(17), HOUR, None).unwrap();
    assert_eq!(leases.offer(secs(4), &named(9, b"system"), None), Some(ip(17)));
    leases.bind(secs(4), &named(9, b"system"), ip(17), HOUR, None).unwrap();
    assert_eq!(leases.held(), 3);
}

#[test]
fn a_host_that_is_renamed_has_the_new_name() {
    let mut leases = leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"board-1")).unwrap();
    leases.bind(secs(1), &who(1), ip(15), HOUR, Some(b"board")).unwrap();
    assert_eq!((leases.by_name(secs(2), "board-1"), leases.name_of(secs(2), ip(15))), (None, Some("board-2")));
    let mut leases = super::tests::leases();
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"inst-2")).unwrap();
    leases.bind(secs(1), &who(1), ip(15), HOUR, Some(b"inst")).unwrap();
    assert_eq!((leases.by_name(secs(2), "inst-2"), leases.by_name(secs(2), "inst")), (None, Some(ip(15))));
}

#[test]
fn leases_outlive_a_restart() {
    let mut before = leases();
    before.bind(secs(0), &named(1, b"one"), ip(15), HOUR, Some(b"zephyr")).unwrap();
    before.bind(secs(0), &who(2), ip(18), HOUR, Some(b"zephyr")).unwrap();
    let kept: Vec<Lease> = before.list(secs(600)).collect();
    let mut after = leases();
    kept.iter().for_each(|lease| after.restore(secs(5), lease));
    assert_eq!(after.by_name(secs(6), "zephyr-2"), Some(ip(18)));
    assert_eq!(after.list(secs(5)).collect::<Vec<_>>(), kept);
    // the second goes on as it did, and nobody gets what was given away
    after.bind(secs(6), &who(2), ip(18), HOUR, Some(b"zephyr")).unwrap();
    assert_eq!(after.name_of(secs(6), ip(18)), Some("zephyr-2"));
    assert_eq!(after.offer(secs(6), &who(3), None), None);
    // of another network, or somebody else's by now
    let mut other = leases();
    other.restore(secs(5), &Lease { addr: Ipv4Addr::new(192, 0, 2, 15), ..kept[0].clone() });
    other.restore(secs(5), &Lease { addr: ip(17), ..kept[0].clone() });
    assert_eq!(other.list(secs(5)).count(), 0);
}

#[test]
fn hosts_are_pinned_while_it_runs() {
    let mut leases = leases();
    let pin =
        |last: u8, addr: u8, name: Option<&str>| Fixed { mac: mac(last), addr: ip(addr), name: name.map(Into::into) };
    leases.bind(secs(0), &who(1), ip(15), HOUR, Some(b"one")).unwrap();
    assert_eq!(leases.pin(secs(1), pin(2, 15, None)), Err(Unpinned::Taken(ip(15), mac(1))), "it stands");
    assert_eq!(leases.pin(secs(1), pin(2, 17, None)), Err(Unpinned::Taken(ip(17), mac(9))));
    assert_eq!(leases.pin(secs(1), pin(2, 16, None)), Err(Unpinned::Reserved(ip(16))));
    assert_eq!(leases.pin(secs(1), pin(2, 18, Some("board"))), Err(Unpinned::Named("board".into())));
    // To where it is, and then elsewhere: its client is refused the old address, and gets the new one.
    assert_eq!(leases.pin(secs(1), pin(1, 15, None)), Ok(true));
    assert_eq!(leases.pin(secs(1), pin(1, 15, None)), Ok(false));
    assert_eq!(leases.pin(secs(2), pin(1, 18, Some("first"))), Ok(true));
    assert_eq!(leases.bind(secs(3), &who(1), ip(15), HOUR, None), Err(Refused));
    assert_eq!(leases.offer(secs(3), &who(1), None), Some(ip(18)));
    assert_eq!((leases.by_name(secs(3), "first"), leases.mac_of(secs(3), "first")), (Some(ip(18)), Some(mac(1))));
    assert_eq!(leases.name_at(secs(3), mac(1)), Some("first"));
    assert!(leases.drop_of(Holder::Mac(mac(1))) && !leases.drop_of(Holder::Mac(mac(1))));
    assert!(leases.drop_of(Holder::Addr(ip(17))), "one of the configuration, too");
    assert_eq!(leases.offer(secs(4), &who(3), None), Some(ip(15)), "it is free again");
    assert!(leases.details(secs(4)).is_empty());
}
