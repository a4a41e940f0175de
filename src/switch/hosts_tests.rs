//! Stations that leave and come back with another MAC address, frame by frame.

use super::*;
use crate::counters::Counters;
use crate::frame::Outgoing;
use crate::switch::{PortConfig, SwitchConfig, Taken};
use crate::wire::neighbour::Tags;

const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const C: Mac = Mac([2, 0, 0, 0, 0, 0x0c]);
const GONE: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const NEW: Mac = Mac([2, 0, 0, 0, 0, 0x02]);
const PORT_A: PortId = PortId(0);
const PORT_B: PortId = PortId(1);
const PORT_C: PortId = PortId(2);

/// What came out, and where.
#[derive(Default)]
struct Got(Vec<(PortId, Vec<u8>)>);

impl Transmit for Got {
    fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        for (_, bytes) in out.frames() {
            counters.sent(1, bytes.len() as u64);
            self.0.push((port, bytes.to_vec()));
        }
        Taken { frames: out.len() }
    }
}

/// A switch of three ports, and its clock.
struct Lab {
    switch: Switch,
    now: Instant,
}

impl Lab {
    fn new(config: impl Fn(PortId) -> PortConfig) -> Self {
        let mut switch = Switch::new(&SwitchConfig::default());
        [PORT_A, PORT_B, PORT_C].into_iter().for_each(|port| assert_eq!(switch.add_port(config(port)), Some(port)));
        Self { switch, now: Instant::from_secs(100) }
    }

    /// The instance at B has spoken with A, and then its peer leaves and the next one comes.
    fn restarted(config: impl Fn(PortId) -> PortConfig, v6: bool) -> Self {
        let mut lab = Self::new(config);
        lab.frame(PORT_A, &asks(A, own(v6), its(v6)));
        lab.frame(PORT_B, &answers(GONE, its(v6)));
        lab.frame(PORT_C, &asks(C, third(v6), its(v6)));
        lab.restart();
        lab
    }

    fn restart(&mut self) {
        self.switch.set_up(self.now, PORT_B, false);
        self.switch.set_up(self.now, PORT_B, true);
        self.later(1000);
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Hands a frame over, and gives what came out, without the frame itself.
    fn frame(&mut self, ingress: PortId, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let mut got = self.run(ingress, &[bytes]);
        self.switch.speak(self.now, &mut got);
        got.0.retain(|(_, got)| got != bytes);
        got.0
    }

    /// Hands over frames that have come at once, after which the switch does not speak yet.
    fn run(&mut self, ingress: PortId, frames: &[&[u8]]) -> Got {
        let mut batch = Batch::new(4096);
        frames.iter().for_each(|bytes| assert!(batch.push(bytes, ingress, Offload::NONE)));
        let mut got = Got::default();
        self.switch.run(self.now, &batch, &mut got);
        got
    }

    /// The station that is known to have an address in a VLAN.
    fn known(&self, vlan: u32, addr: IpAddr) -> Option<Mac> {
        self.switch.hosts.known.get(&(vlan, addr)).map(|host| host.mac)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn own(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8::2" } else { "192.0.2.2" })
}

fn its(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8::1" } else { "192.0.2.1" })
}

fn third(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8::3" } else { "192.0.2.3" })
}

fn asks(mac: Mac, own: IpAddr, addr: IpAddr) -> Vec<u8> {
    question(&Tags::default(), mac, own, addr).unwrap()
}

/// An answer, as good as one to a single station.
fn answers(mac: Mac, addr: IpAddr) -> Vec<u8> {
    announcement(&says(mac, addr))
}

/// An answer to one station.
fn tells(to: Mac, mac: Mac, addr: IpAddr) -> Vec<u8> {
    [&to.0, &answers(mac, addr)[6..]].concat()
}

/// A frame that comes from another station than it says.
fn sent_by(mac: Mac, frame: &[u8]) -> Vec<u8> {
    [&frame[..6], &mac.0, &frame[12..]].concat()
}

/// A frame in VLAN 7.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat()
}

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(number.into())
}

fn says(mac: Mac, addr: IpAddr) -> Said {
    Said { tags: Tags::default(), addr, mac, router: addr.is_ipv6().then_some(true), answers: None }
}

/// A packet from A.
fn packet(to: Mac, from: Mac, source: IpAddr, target: IpAddr) -> Vec<u8> {
    let head = [to.0, from.0].concat();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            [&head[..], &[8, 0], &ip, &source.octets(), &target.octets(), &[0; 8]].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let ip = [0x60, 0, 0, 0, 0, 8, 17, 64];
            [&head[..], &[0x86, 0xdd], &ip, &source.octets(), &target.octets(), &[0; 8]].concat()
        }
        _ => unreachable!("one family"),
    }
}

#[test]
fn the_first_packet_to_one_that_has_left_finds_the_one_in_its_place() {
    for v6 in [false, true] {
        let mut lab = Lab::restarted(|_| PortConfig::default(), v6);
        let asked = lab.frame(PORT_A, &packet(GONE, A, own(v6), its(v6)));
        let question = asks(A, own(v6), its(v6));
        assert_eq!(asked, [(PORT_B, question.clone()), (PORT_C, question)], "in its name, to all");
        assert_eq!(lab.frame(PORT_A, &packet(GONE, A, own(v6), its(v6))), [], "not again at once");
        lab.later(50);
        let answer = tells(A, NEW, its(v6));
        let told = lab.frame(PORT_B, &answer);
        let announced = answers(NEW, its(v6));
        let held = packet(NEW, A, own(v6), its(v6));
        let all = [(PORT_A, announced.clone()), (PORT_C, announced), (PORT_B, held)];
        assert_eq!(told, all, "who speaks to it is told, and so is everybody");
        assert_eq!(lab.frame(PORT_B, &answer), [], "once");
        assert_eq!(lab.frame(PORT_A, &packet(NEW, A, own(v6), its(v6))), [], "it goes on as ever");
    }
}

#[test]
fn one_that_is_only_silent_or_bound_or_was_never_heard_is_not_asked_for() {
    let mut lab = Lab::new(|_| PortConfig::default());
    lab.frame(PORT_A, &asks(A, own(false), its(false)));
    lab.frame(PORT_B, &answers(GONE, its(false)));
    lab.later(400_000);
    assert_eq!(lab.frame(PORT_A, &packet(GONE, A, own(false), its(false))), [], "it has aged");
    lab.restart();
    assert_eq!(lab.frame(PORT_A, &packet(GONE, A, own(false), its(false))), [], "and had, before its port was left");
    assert_eq!(lab.frame(PORT_A, &packet(NEW, A, own(false), its(false))), [], "never heard");
    assert!(lab.switch.add_static(lab.now, GONE, PORT_B));
    lab.restart();
    assert_eq!(lab.frame(PORT_A, &packet(GONE, A, own(false), its(false))), [], "it is where it is bound");
}

#[test]
fn a_router_is_found_by_its_own_address() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    let away = ip("198.51.100.7");
    let asked = lab.frame(PORT_A, &packet(GONE, A, own(false), away));
    assert_eq!(asked.first(), Some(&(PORT_B, asks(A, own(false), its(false)))));
    let told = lab.frame(PORT_B, &answers(NEW, its(false)));
    assert_eq!(told.last(), Some(&(PORT_B, packet(NEW, A, own(false), away))));
}

#[test]
fn nobody_is_asked_in_the_name_of_one_far_away() {
    for v6 in [false, true] {
        let mut lab = Lab::restarted(|_| PortConfig::default(), v6);
        let far = ip(if v6 { "2001:db8:9::7" } else { "198.51.100.7" });
        // A probe (RFC 5227, 2.1.1) would make one that is just probing the address believe that another one is, too.
        assert_eq!(lab.frame(PORT_A, &packet(GONE, NEW, far, its(v6))), [], "nor as one without an address");
        let asked = lab.frame(PORT_A, &packet(GONE, A, far, its(v6)));
        assert_eq!(asked.first(), Some(&(PORT_B, asks(A, own(v6), its(v6)))), "with an address of its own");
    }
}

#[test]
fn one_that_is_still_starting_is_asked_again() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    let question = asks(A, own(false), its(false));
    lab.frame(PORT_A, &packet(GONE, A, own(false), its(false)));
    let begun = lab.now;
    let mut asked = Vec::new();
    while let Some(due) = lab.switch.poll_timeout() {
        lab.now = due;
        lab.switch.handle_timeout(due);
        let mut got = Got::default();
        lab.switch.speak(due, &mut got);
        assert!(got.0.iter().all(|(port, bytes)| *port != PORT_A && *bytes == question));
        asked.push(((due - begun).as_secs(), got.0.len()));
    }
    assert_eq!(asked, [(1, 2), (2, 2), (3, 0)], "and given up");
    lab.frame(PORT_A, &packet(GONE, A, own(false), its(false)));
    lab.later(2900);
    let told = lab.frame(PORT_B, &answers(NEW, its(false)));
    assert_eq!(told.last(), Some(&(PORT_B, packet(NEW, A, own(false), its(false)))));
    assert_eq!(lab.switch.poll_timeout(), None);
}

#[test]
fn one_that_comes_after_it_is_sought_is_found() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    [PORT_B, PORT_C].into_iter().for_each(|port| lab.switch.set_up(lab.now, port, false));
    assert_eq!(lab.frame(PORT_A, &packet(GONE, A, own(false), its(false))), [], "nobody is there");
    lab.switch.set_up(lab.now, PORT_B, true);
    lab.later(1000);
    lab.switch.handle_timeout(lab.now);
    let mut got = Got::default();
    lab.switch.speak(lab.now, &mut got);
    assert_eq!(got.0, [(PORT_B, asks(A, own(false), its(false)))]);
    let told = lab.frame(PORT_B, &answers(NEW, its(false)));
    assert_eq!(told.last(), Some(&(PORT_B, packet(NEW, A, own(false), its(false)))));
}

/// Port A and port B are isolated: nothing of all this passes between them.
#[test]
fn isolated_ports_stay_apart() {
    let mut lab = Lab::restarted(|port| PortConfig { isolate: port != PORT_C, ..PortConfig::default() }, false);
    let asked = lab.frame(PORT_A, &packet(GONE, A, own(false), its(false)));
    assert_eq!(asked, [(PORT_C, asks(A, own(false), its(false)))]);
    let told = lab.frame(PORT_B, &tells(A, NEW, its(false)));
    assert_eq!(told, [(PORT_C, answers(NEW, its(false)))], "the answer and the packet stay where they are");
}

#[test]
fn what_the_guard_refuses_is_not_heard() {
    let mut lab = Lab::restarted(|port| PortConfig { guard: port == PORT_C, ..PortConfig::default() }, false);
    lab.switch.bind(crate::switch::Address::Ip(its(false)), PORT_C);
    assert_eq!(lab.frame(PORT_B, &answers(NEW, its(false))), []);
    assert_eq!(lab.known(0, its(false)), Some(GONE));
}

/// The guard looks at a frame's source, and not at the MAC address that a neighbour's message names besides.
#[test]
fn nobody_makes_the_switch_speak_as_another_station() {
    for (v6, guard) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut lab = Lab::restarted(|_| PortConfig { guard, ..PortConfig::default() }, v6);
        for lie in [answers(C, its(v6)), tells(A, C, its(v6)), asks(C, its(v6), own(v6))] {
            assert_eq!(lab.frame(PORT_B, &sent_by(NEW, &lie)), [], "IPv6 {v6}, guard {guard}");
            assert_eq!(lab.known(0, its(v6)), Some(GONE), "IPv6 {v6}, guard {guard}");
        }
        let told = lab.frame(PORT_B, &tells(A, NEW, its(v6)));
        let announced = answers(NEW, its(v6));
        assert_eq!(told, [(PORT_A, announced.clone()), (PORT_C, announced)], "what is true is heard");
    }
}

#[test]
fn all_that_comes_at_once_is_heard() {
    let quiet = |v6| packet(if v6 { Mac([0x33, 0x33, 0, 0, 0, 1]) } else { Mac::BROADCAST }, GONE, own(v6), third(v6));
    for (vlan, v6) in [(0, false), (7, false), (0, true), (7, true)] {
        let mut lab = Lab::new(|_| PortConfig::default());
        let mut frames =
            [answers(GONE, its(v6)), quiet(v6), quiet(v6), answers(GONE, third(v6)), answers(GONE, own(v6))];
        if vlan != 0 {
            frames.iter_mut().for_each(|frame| *frame = tagged(frame));
        }
        let got = lab.run(PORT_B, &frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(got.0.len(), 2 * frames.len(), "all of it goes on, to both");
        for addr in [its(v6), third(v6), own(v6)] {
            assert_eq!(lab.known(vlan, addr), Some(GONE), "{addr} in VLAN {vlan}");
        }
    }
}

#[test]
fn what_is_to_be_said_goes_with_its_port() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    lab.run(PORT_A, &[&packet(GONE, A, own(false), its(false))]);
    assert!(lab.switch.has_to_speak());
    lab.switch.remove_port(lab.now, PORT_A);
    assert!(!lab.switch.has_to_speak(), "whoever gets its number speaks for itself");
}

#[test]
fn a_router_that_only_asks_is_told_of_when_it_says_that_it_is_one() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), true);
    assert_eq!(lab.frame(PORT_B, &asks(NEW, its(true), third(true))), []);
    let announced = answers(NEW, its(true));
    let answer = [&C.0[..], &announced[6..]].concat();
    assert_eq!(lab.frame(PORT_B, &answer), [(PORT_A, announced.clone()), (PORT_C, announced)]);
}

#[test]
fn two_that_have_one_address_are_told_of_once() {
    let mut lab = Lab::new(|_| PortConfig::default());
    let mut told = Vec::new();
    for turn in 0..10 {
        let (mac, port) = if turn % 2 == 0 { (GONE, PORT_B) } else { (NEW, PORT_C) };
        lab.frame(port, &answers(mac, its(false)));
        lab.later(500);
        told.extend(std::iter::from_fn(|| lab.switch.poll_event()));
        assert_eq!(told.len(), usize::from(turn > 1), "one that moves once has moved");
    }
    let shared = Shared { addr: its(false), one: (NEW, PORT_C), other: (GONE, PORT_B) };
    assert_eq!(told, [Event::Shared(shared)]);
    // A station behind the same port is no other's, and one that speaks for many may do so.
    for number in 0..100_u8 {
        let addr = ip(&format!("198.51.100.{}", number % 50 + 1));
        lab.frame(PORT_B, &answers(GONE, addr));
        lab.frame(PORT_C, &answers(C, addr));
        lab.frame(PORT_B, &answers(if number % 2 == 0 { GONE } else { NEW }, ip("203.0.113.1")));
        lab.later(500);
    }
    assert_eq!(lab.switch.poll_event(), None);
}

#[test]
fn what_is_remembered_is_bounded_for_each_port() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    let router = ip("198.51.100.1");
    for number in 0..10_000 {
        lab.later(1);
        if number % 100 == 0 {
            lab.frame(PORT_C, &answers(NEW, router));
        }
        lab.frame(PORT_C, &answers(C, v4(0x0a00_0000 + number)));
    }
    assert!(lab.switch.hosts.known.len() <= KNOWN_EACH + 2);
    assert_eq!(lab.known(0, its(false)), Some(GONE), "what others have said is there");
    assert_eq!(lab.known(0, router), Some(NEW), "and so is who is heard time and again");
}

#[test]
fn a_router_is_asked_for_once_however_far_its_packets_go() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    let packets = (0..1000).map(|number| packet(GONE, C, third(false), v4(0x0b00_0000 + number)));
    let asked: Vec<_> = packets.flat_map(|packet| lab.frame(PORT_C, &packet)).collect();
    let question = asks(C, third(false), its(false));
    assert_eq!(asked, [(PORT_A, question.clone()), (PORT_B, question)]);
    let own_packet = packet(GONE, C, third(false), its(false));
    assert_eq!(lab.frame(PORT_C, &own_packet), [], "nor again for one to itself");
    assert_eq!(lab.switch.hosts.asked.len(), 1, "and one copy is held");
    let told = lab.frame(PORT_B, &tells(C, NEW, its(false)));
    assert_eq!(told.last(), Some(&(PORT_B, packet(NEW, C, third(false), v4(0x0b00_0000)))));
    // Who has not heard of it makes the switch ask for the router again, and for nobody far away.
    let question = asks(A, own(false), its(false));
    let packets = (0..1000).map(|number| packet(GONE, A, own(false), v4(0x0c00_0000 + number)));
    let asked: Vec<_> = packets.flat_map(|packet| lab.frame(PORT_A, &packet)).collect();
    assert_eq!(asked, [(PORT_B, question.clone()), (PORT_C, question)]);
}

#[test]
fn ports_that_ask_much_leave_the_question_of_another_one_alone() {
    let mut lab = Lab::restarted(|_| PortConfig::default(), false);
    // Nobody knows an address of the one that has left, so each packet makes a question.
    let silent = Mac([2, 0, 0, 0, 0, 0x55]);
    lab.frame(PORT_B, &packet(A, silent, third(false), own(false)));
    lab.restart();
    let busy: Vec<_> = (0..5)
        .map(|number| {
            let (mac, addr) = (Mac([2, 0, 0, 0, 1, number]), v4(0xc000_0250 + u32::from(number)));
            let port = lab.switch.add_port(PortConfig::default()).unwrap();
            lab.frame(port, &asks(mac, addr, third(false)));
            (port, mac, addr)
        })
        .collect();
    lab.frame(PORT_A, &packet(GONE, A, own(false), its(false)));
    for second in 0..3_u32 {
        lab.later(if second > 0 { 1000 } else { 0 });
        for &(port, mac, addr) in &busy {
            let packets = (0..1000).map(|number| packet(silent, mac, addr, v4(0x0b00_0000 + 1000 * second + number)));
            let asked: usize = packets.map(|packet| lab.frame(port, &packet).len()).sum();
            assert_eq!(asked, 7 * ASKS as usize, "to all other ports");
        }
    }
    assert_eq!(lab.switch.hosts.asked.len(), ASKED);
    let told = lab.frame(PORT_B, &tells(A, NEW, its(false)));
    assert_eq!(told.last(), Some(&(PORT_B, packet(NEW, A, own(false), its(false)))));
}
