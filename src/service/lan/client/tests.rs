//! The client against the server of the next room, under a virtual clock.

use super::*;
use crate::service::lan::dhcp4::{Dhcp4, Dhcp4Config};
use crate::service::lan::leases::{Leases, Pool};
use proptest::prelude::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

struct Lab {
    client: Client,
    server: Dhcp4,
    leases: Leases,
    now: Instant,
}

impl Lab {
    fn new(lease: u64) -> Self {
        let addr = |last| Ipv4Addr::new(10, 0, 2, last);
        let config = Dhcp4Config {
            server: addr(2),
            prefix: 24,
            router: Some(addr(2)),
            dns: vec![addr(3)],
            domain: Some("lab".into()),
            mtu: 1400,
            lease: Duration::from_secs(lease),
            tftp: None,
            boot: Vec::new(),
        };
        let (first, last) = (addr(15), addr(16));
        let pool = Pool { first, last, reserved: Vec::new(), fixed: Vec::new(), reserved_names: Vec::new() };
        let client = Client::new(MAC, "inst1", 1);
        Self { client, server: Dhcp4::new(config), leases: Leases::new(pool), now: at(1) }
    }

    /// Runs until nothing is due at once. Gives what was sent to whom, and whether the address was lost.
    fn run(&mut self, server_answers: bool) -> (Vec<Option<Ipv4Addr>>, bool) {
        let (mut sent, mut lost) = (Vec::new(), false);
        while let Some(action) = self.client.poll(self.now) {
            match action {
                Action::Lost => lost = true,
                Action::Send(to, payload) => {
                    sent.push(to);
                    let answer =
                        self.server.handle(self.now, &mut self.leases, MAC, &payload).filter(|_| server_answers);
                    if let Some(answer) = answer {
                        self.client.handle(self.now, &answer.payload);
                    }
                }
            }
        }
        (sent, lost)
    }

    fn wait(&mut self) -> u64 {
        self.now = self.client.poll_timeout().unwrap();
        self.now.as_millis() / 1000
    }
}

#[test]
fn an_address_is_granted_and_kept() {
    let mut lab = Lab::new(3600);
    assert_eq!(lab.run(true), (vec![None, None], false));
    let grant = lab.client.grant().unwrap().clone();
    assert_eq!((grant.addr.to_string().as_str(), grant.mtu), ("10.0.2.15/24", Some(1400)));
    assert_eq!((grant.router, grant.domain.as_deref()), (Some(Ipv4Addr::new(10, 0, 2, 2)), Some("lab")));
    assert_eq!(grant.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
    assert_eq!(lab.leases.by_name(lab.now, "inst1"), Some(Ipv4Addr::new(10, 0, 2, 15)));
    for round in 1..4 {
        assert_eq!(lab.wait(), 1 + 1800 * round, "half-way");
        assert_eq!(lab.run(true), (vec![Some(grant.server)], false));
    }
    assert_eq!(lab.client.grant().unwrap().addr, grant.addr);
}

#[test]
fn a_server_that_is_gone_is_waited_for() {
    let mut lab = Lab::new(800);
    lab.run(true);
    let mut asked = Vec::new();
    loop {
        lab.wait();
        let (sent, lost) = lab.run(false);
        asked.push((lab.now.as_millis() / 1000, sent.first().copied().flatten().is_some()));
        if lost {
            break;
        }
    }
    // half of what is left to 700 s, a minute at least; then everybody, to 800 s
    let times = [(401, true), (551, true), (626, true), (686, true), (701, false), (761, false), (801, false)];
    assert_eq!(asked, times);
    assert_eq!(lab.client.grant(), None);
    // it begins anew, and finds the server again
    lab.wait();
    lab.run(true);
    assert!(lab.client.grant().is_some());
}

#[test]
fn a_refusal_ends_the_lease() {
    let mut lab = Lab::new(600);
    lab.run(true);
    // a restarted server knows nothing, and somebody else has the address
    let pool = Lab::new(600).leases;
    lab.leases = pool;
    lab.leases
        .bind(lab.now, &Mac([2, 0, 0, 0, 0, 9]).into(), Ipv4Addr::new(10, 0, 2, 15), Duration::from_secs(600), None)
        .ok();
    lab.wait();
    let (_, lost) = lab.run(true);
    assert!(lost);
    assert_eq!(lab.client.grant().unwrap().addr.to_string(), "10.0.2.16/24");
}

/// RFC 2131, section 4.4.5: in RENEWING only the lease's own server may send a NAK.
#[test]
fn a_refusal_of_whom_nobody_asked_is_nothing() {
    let mut lab = Lab::new(800);
    lab.run(true);
    let nak = |lab: &mut Lab, server: u8| {
        let mut payload = lab.client.write(Kind::Request, &[]);
        payload.truncate(HEADER);
        payload[0] = 2;
        payload.extend([option::TYPE, 1, Kind::Nak as u8, option::SERVER, 4, 10, 0, 2, server, 255]);
        let now = lab.now;
        lab.client.handle(now, &payload);
        lab.run(false).1
    };
    assert!(!nak(&mut lab, 2), "it asks nothing");
    assert_eq!(lab.wait(), 401);
    lab.run(false);
    assert!(!nak(&mut lab, 9), "another server, while one is asked");
    while lab.wait() < 701 {
        lab.run(false);
    }
    lab.run(false);
    assert!(nak(&mut lab, 9), "all are asked");
    assert_eq!(lab.client.grant(), None);
}

/// The lease in an ACK with these options.
fn grant(options: &[u8]) -> Grant {
    let own = [&[option::SERVER, 4, 192, 0, 2, 1, option::LEASE, 4, 0, 0, 0, 100], options].concat();
    granted(Ipv4Addr::new(192, 0, 2, 50), &own).unwrap()
}

#[test]
fn routes_take_the_place_of_the_router() {
    let plain = grant(&[1, 4, 255, 255, 255, 255, 3, 4, 192, 0, 2, 1]);
    assert_eq!((plain.addr.prefix, plain.router, plain.routes.len()), (32, Some([192, 0, 2, 1].into()), 0));
    let routes = [121, 21, 32, 192, 0, 2, 1, 0, 0, 0, 0, 0, 192, 0, 2, 1, 10, 198, 51, 192, 0, 2, 9];
    let said = grant(&[&[3, 4, 10, 0, 0, 1][..], &routes].concat());
    let net = |text: &str| text.parse::<Cidr>().unwrap();
    assert_eq!(said.router, Some([192, 0, 2, 1].into()));
    assert_eq!(said.routes, [(net("192.0.2.1/32"), None), (net("198.0.0.0/10"), Some([192, 0, 2, 9].into()))]);
    let none = grant(&[3, 4, 10, 0, 0, 1, 121, 5, 8, 10, 0, 0, 0]);
    assert_eq!((none.router, none.routes.len()), (Some([10, 0, 0, 1].into()), 0), "cut short");
    let no_default = grant(&[3, 4, 10, 0, 0, 1, 121, 6, 8, 10, 0, 0, 0, 1]);
    assert_eq!((no_default.router, no_default.routes.len()), (None, 1));
}

#[test]
fn a_server_may_say_when_to_renew() {
    let secs = Duration::from_secs;
    for (options, times) in [
        (&[][..], (50, 87)),
        (&[58, 4, 0, 0, 0, 60, 59, 4, 0, 0, 0, 90], (60, 90)),
        (&[58, 4, 0, 0, 0, 95, 59, 4, 0, 0, 0, 90], (90, 90)),
        (&[59, 4, 0, 0, 1, 0], (50, 100)),
    ] {
        let wanted = Times { renew: secs(times.0), rebind: secs(times.1), end: secs(100) };
        assert_eq!(grant(options).times, Some(wanted), "{options:?}");
    }
}

#[test]
fn questions_come_less_and_less_often() {
    let mut lab = Lab::new(600);
    let mut times = Vec::new();
    lab.now = at(0);
    for _ in 0..8 {
        lab.run(false);
        lab.now = lab.client.poll_timeout().unwrap();
        times.push(lab.now.as_millis());
    }
    assert_eq!(times, [300, 900, 2100, 4500, 9300, 17_300, 25_300, 33_300]);
}

#[test]
fn a_frame_is_written_and_read() {
    let mut sent = frame::write(MAC, b"payload");
    assert_eq!(sent.len(), 49);
    crate::wire::fixture::assert_valid(&sent);
    assert_eq!(frame::read(&sent), None, "it is for a server");
    sent[36..38].copy_from_slice(&[0, 68]);
    sent.extend([0; 20]);
    assert_eq!(frame::read(&sent), Some(&b"payload"[..]));
    for len in 0..49 {
        assert_eq!(frame::read(&sent[..len]), None, "{len}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_taken_well(bytes: Vec<u8>, options: Vec<u8>, kind in 0_u8..9) {
        let mut lab = Lab::new(600);
        let Some(Action::Send(_, mut payload)) = lab.client.poll(lab.now) else { panic!("nothing sent") };
        frame::read(&bytes);
        lab.client.handle(lab.now, &bytes);
        payload.truncate(HEADER);
        payload[0] = 2;
        payload.extend([option::TYPE, 1, kind, option::SERVER, 4, 10, 0, 2, 2]);
        payload.extend(options);
        lab.client.handle(lab.now, &payload);
        let (_, lost) = lab.run(true);
        prop_assert!(!lost);
    }
}
