//! The plan: the rooms of the library and of those rooms that have an order of their own, and who may use whom.

/// A room: a module of the library, or of a room that has a plan of its own.
pub struct Room {
    pub name: &'static str,
    /// The rooms it may use; `ground` stands for all that the plan calls so.
    pub may_use: &'static [&'static str],
}

/// The rooms everything stands on.
const GROUND: &[&str] = &["error", "time", "limits", "counters", "visible", "wire", "frame", "codec"];

/// Every room and what it may use, from the ground up: a row never names a row below it.
const ROOMS: &[Room] = &[
    // ground: addresses, headers, framings; allocates nothing per frame, panics on no input
    Room { name: "error", may_use: &[] },
    Room { name: "time", may_use: &[] },
    Room { name: "limits", may_use: &["time"] },
    Room { name: "counters", may_use: &["time"] },
    Room { name: "visible", may_use: &[] },
    Room { name: "wire", may_use: &["error", "limits"] },
    Room { name: "frame", may_use: &["error", "time", "limits", "wire"] },
    Room { name: "codec", may_use: &["error", "limits", "wire", "frame"] },
    // core: makes no system call, reads no clock
    Room { name: "switch", may_use: &["ground"] },
    // rights: what each thread gives up, and the messages to who keeps some
    Room { name: "rights", may_use: &["ground"] },
    // words: what people and programs say to it and read of it
    Room { name: "config", may_use: &["ground", "switch"] },
    Room { name: "capture", may_use: &["ground", "switch", "config"] },
    Room { name: "control", may_use: &["ground", "switch", "capture"] },
    Room { name: "scenario", may_use: &["ground", "config", "control"] },
    // services: know neither a switch nor a descriptor
    Room { name: "usb", may_use: &["ground", "config"] },
    Room { name: "usbip", may_use: &["ground", "config", "capture", "usb"] },
    Room { name: "service", may_use: &["ground", "config", "capture", "usb", "usbip"] },
    // edges: descriptors and system calls; of services only their channels; no switch
    Room { name: "port", may_use: &["ground", "rights", "config", "capture", "service"] },
    // the descriptors behind services: streams, disks, sockets; of the edges their listeners, terminals and look-ups too
    Room { name: "backend", may_use: &["ground", "rights", "config", "usb", "service", "port"] },
    // a server for a few clients of this machine
    Room { name: "http", may_use: &["ground", "rights", "config", "port"] },
    // engine: brings all of them together
    Room {
        name: "engine",
        may_use: &[
            "ground", "rights", "switch", "config", "control", "capture", "usb", "usbip", "service", "port", "backend",
            "http",
        ],
    },
    // play: scenarios on a bridge that runs
    Room { name: "play", may_use: &["ground", "rights", "control", "engine", "scenario"] },
    // instances: programs in namespaces of their own, and their network
    Room { name: "launch", may_use: &["ground", "rights", "config", "service", "port", "engine"] },
    // programs: those of a bench, in order
    Room { name: "programs", may_use: &["ground", "rights", "config", "service", "port", "engine", "launch"] },
    // doctor: what is in the way of frames, on the machine or on a bridge
    Room { name: "doctor", may_use: &["ground", "rights", "config", "control", "port", "launch"] },
    // program
    Room {
        name: "cli",
        may_use: &[
            "ground", "rights", "switch", "config", "control", "capture", "usb", "usbip", "service", "port", "http",
            "engine", "launch", "programs", "doctor", "scenario", "play",
        ],
    },
    // what the program and the tests take of any room
    Room {
        name: "internals",
        may_use: &["ground", "capture", "control", "scenario", "usbip", "service", "port", "cli"],
    },
];

/// What the rooms of `service` stand on.
const SERVICE_GROUND: &[&str] = &[
    "station",
    "shares",
    "allowance",
    "path_mtu",
    "lease",
    "report",
    "detail",
    "change",
    "outside",
    "machine",
    "table",
];

/// The rooms of `service`, likewise. Its root, which makes services, is above them all.
const SERVICE: &[Room] = &[
    // ground: who has sent something, what is held for whom, what is said to the outside and to the port
    Room { name: "station", may_use: &[] },
    Room { name: "shares", may_use: &[] },
    Room { name: "allowance", may_use: &[] },
    Room { name: "path_mtu", may_use: &["station", "shares"] },
    Room { name: "lease", may_use: &[] },
    Room { name: "report", may_use: &[] },
    Room { name: "detail", may_use: &[] },
    Room { name: "change", may_use: &[] },
    Room { name: "outside", may_use: &["lease"] },
    Room { name: "machine", may_use: &["station", "report", "detail", "change", "outside"] },
    Room { name: "table", may_use: &["shares", "outside"] },
    Room { name: "script", may_use: &["station", "outside", "machine"] },
    // a host of its own
    Room { name: "endpoint", may_use: &["ground"] },
    Room { name: "ping_host", may_use: &["ground", "script", "endpoint"] },
    Room { name: "prober", may_use: &["ground", "script", "endpoint"] },
    // a network: its servers know no gateway, and a gateway asks them through `questions`
    Room { name: "questions", may_use: &["ground", "endpoint"] },
    Room { name: "lan", may_use: &["ground", "endpoint", "questions"] },
    Room { name: "nat", may_use: &["ground", "script", "endpoint", "questions", "lan"] },
    // devices
    Room { name: "usbip", may_use: &["ground", "script", "endpoint"] },
];

/// What the parts of `engine` stand on.
const ENGINE_GROUND: &[&str] = &["pulse", "fault", "timers", "lists", "life", "status", "watch"];

/// The parts of `engine`: a file each, and `control`.
const ENGINE: &[Room] = &[
    Room { name: "pulse", may_use: &[] },
    Room { name: "fault", may_use: &["pulse"] },
    Room { name: "timers", may_use: &[] },
    Room { name: "lists", may_use: &[] },
    Room { name: "life", may_use: &[] },
    Room { name: "status", may_use: &[] },
    Room { name: "watch", may_use: &[] },
    Room { name: "watcher", may_use: &[] },
    Room { name: "rewrite", may_use: &[] },
    Room { name: "mirrors", may_use: &[] },
    Room { name: "bends", may_use: &[] },
    Room { name: "departed", may_use: &["ground"] },
    // the ports
    Room { name: "slot", may_use: &["ground"] },
    Room { name: "edges", may_use: &["ground", "rewrite", "slot"] },
    Room { name: "feed", may_use: &[] },
    Room { name: "tap", may_use: &["slot", "feed"] },
    Room { name: "recorder", may_use: &["feed", "tap"] },
    Room { name: "fates", may_use: &["ground", "feed", "recorder"] },
    Room { name: "parting", may_use: &["edges"] },
    Room {
        name: "ports",
        may_use: &["ground", "mirrors", "bends", "parting", "slot", "edges", "tap", "recorder", "fates"],
    },
    // what is done with them: each one matter
    Room { name: "arrival", may_use: &["ground", "slot", "ports"] },
    Room { name: "links", may_use: &["ground", "ports"] },
    Room { name: "places", may_use: &["ground", "slot", "ports"] },
    Room { name: "cable", may_use: &["parting", "ports", "links"] },
    Room { name: "listeners", may_use: &["ground", "slot", "ports"] },
    Room { name: "events", may_use: &["ports", "fates"] },
    Room { name: "look", may_use: &["ports"] },
    Room { name: "show", may_use: &["ground", "departed", "fates", "slot", "ports", "links", "listeners"] },
    Room { name: "trace", may_use: &["ground", "ports", "show"] },
    // services
    Room { name: "thread", may_use: &["ground"] },
    Room { name: "runner", may_use: &["ground", "thread"] },
    Room { name: "service", may_use: &["ground", "thread", "runner"] },
    Room { name: "prepare", may_use: &["ground", "tap", "recorder", "thread", "service"] },
    // whole lives, whole breaths, whole turns
    Room {
        name: "lives",
        may_use: &[
            "ground",
            "departed",
            "slot",
            "ports",
            "places",
            "arrival",
            "listeners",
            "show",
            "thread",
            "service",
            "prepare",
        ],
    },
    Room { name: "settings", may_use: &["bends", "cable", "slot", "lives"] },
    Room { name: "breath", may_use: &["ground", "ports", "links"] },
    Room {
        name: "command",
        may_use: &["ground", "watcher", "look", "trace", "tap", "thread", "service", "prepare", "settings"],
    },
    Room { name: "fdb", may_use: &["look", "command"] },
    Room {
        name: "turn",
        may_use: &[
            "ground", "watcher", "ports", "places", "arrival", "links", "events", "show", "trace", "thread", "lives",
            "settings", "breath", "command",
        ],
    },
    Room { name: "bridge", may_use: &["ground", "tap", "recorder", "fates", "prepare", "command", "turn"] },
    // it runs a service itself, for as long as a host is asked
    Room {
        name: "control",
        may_use: &["ground", "watcher", "trace", "tap", "recorder", "runner", "settings", "command", "fdb", "bridge"],
    },
    Room { name: "tests", may_use: &["ground", "prepare", "bridge", "turn"] },
];

/// An order of rooms.
pub struct Plan {
    /// The module whose rooms they are.
    pub of: &'static [&'static str],
    pub rooms: &'static [Room],
    pub ground: &'static [&'static str],
}

/// Every plan: that of the house first.
pub const PLANS: &[Plan] = &[
    Plan { of: &[], rooms: ROOMS, ground: GROUND },
    Plan { of: &["service"], rooms: SERVICE, ground: SERVICE_GROUND },
    Plan { of: &["engine"], rooms: ENGINE, ground: ENGINE_GROUND },
];

impl Plan {
    pub fn find(&self, name: &str) -> Option<&'static Room> {
        self.rooms.iter().find(|room| room.name == name)
    }

    pub fn allows(&self, room: &Room, other: &str) -> bool {
        room.may_use.contains(&other) || room.may_use.contains(&"ground") && self.ground.contains(&other)
    }
}
