//! TFTP packets (RFC 1350, section 5; options RFC 2347 to 2349 and 7440) as bytes: a client's, and answers.
//!
//! Each begins with an opcode, u16. A request goes on with texts that end in a zero: file, mode, and pairs of option
//! and value.

/// Opcodes.
mod opcode {
    pub const READ: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const DATA: u16 = 3;
    pub const ACK: u16 = 4;
    pub const ERROR: u16 = 5;
    pub const OACK: u16 = 6;
}

/// Error codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Fault {
    /// The text says it.
    Other = 0,
    /// There is no such file.
    NoFile = 1,
    /// It may not be read, or written.
    Forbidden = 2,
    /// There is no room for it.
    Full = 3,
    /// Illegal operation.
    Illegal = 4,
    /// Unknown transfer.
    Unknown = 5,
}

/// Bytes of a block unless the client asks for more.
const BLOCK: u16 = 512;
/// The largest window, in blocks: a second of a slow board's work at most.
const WINDOW: u16 = 32;
/// Longest path.
const PATH_MAX: usize = 255;
/// Deepest path.
const DEPTH_MAX: usize = 16;

/// A client's packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// It wants a file.
    Read(Request<'a>),
    /// It wants to write one.
    Write(Request<'a>),
    /// A block of the file that it writes.
    Data(u16, &'a [u8]),
    /// It has everything up to this block.
    Ack(u16),
    /// It gives up.
    Error,
}

/// A request for a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// The file as the client names it.
    pub file: &'a [u8],
    /// Whether the mode is octet.
    pub octet: bool,
    /// Options, those that are understood.
    pub options: Options,
    /// Bytes of the file that it writes, if it says so (RFC 2349).
    pub size: Option<u64>,
    /// The whole packet, to recognise a retransmission.
    pub whole: &'a [u8],
}

/// Options of a request (RFC 2347), or those granted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Bytes of a block (RFC 2348).
    pub block: Option<u16>,
    /// Retransmission timeout in seconds (RFC 2349).
    pub timeout: Option<u8>,
    /// It wants to know how long the file is (RFC 2349).
    pub size: bool,
    /// Blocks of a window (RFC 7440).
    pub window: Option<u16>,
}

impl Options {
    /// The options as far as they can be granted; `most`: bytes of the longest block.
    pub fn granted(self, most: u16) -> Self {
        Self { block: self.block.map(|block| block.min(most)), window: self.window.map(|it| it.min(WINDOW)), ..self }
    }

    /// Bytes of a block.
    pub fn block_len(self) -> usize {
        self.block.unwrap_or(BLOCK).into()
    }

    /// Blocks of a window.
    pub fn window_len(self) -> u64 {
        self.window.unwrap_or(1).into()
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet. `None`: it is malformed, or a server's.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (opcode, rest) = bytes.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*opcode) {
            opcode::READ => Request::read(rest).map(Self::Read),
            opcode::WRITE => Request::read(rest).map(Self::Write),
            opcode::DATA => {
                let (block, bytes) = rest.split_first_chunk::<2>()?;
                Some(Self::Data(u16::from_be_bytes(*block), bytes))
            }
            opcode::ACK => Some(Self::Ack(u16::from_be_bytes(*rest.first_chunk()?))),
            opcode::ERROR => Some(Self::Error),
            _ => None,
        }
    }
}

impl<'a> Request<'a> {
    fn read(rest: &'a [u8]) -> Option<Self> {
        // bytes behind the last zero are no text
        let (texts, _) = rest.split_at(rest.iter().rposition(|byte| *byte == 0)?);
        let mut texts = texts.split(|byte| *byte == 0);
        let (file, mode) = (texts.next()?, texts.next()?);
        let (mut options, mut size) = (Options::default(), None);
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            let within = |least, most| number.filter(|number| (least..=most).contains(number));
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => options.block = within(8, 65_464).map(|number| number as u16),
                b"timeout" => options.timeout = within(1, 255).map(|number| number as u8),
                b"tsize" => (options.size, size) = (true, number),
                b"windowsize" => options.window = within(1, 65_535).map(|number| number as u16),
                _ => {}
            }
        }
        Some(Self { file, octet: mode.eq_ignore_ascii_case(b"octet"), options, size, whole: rest })
    }
}

/// The path below the folder: without a leading `/`, with `\` as `/`, and no way out of the folder. `None`: it is not
/// allowed.
pub fn path(file: &[u8]) -> Option<String> {
    // some boot ROMs take the end mark of DHCP's options for a part of the name
    let file = file.strip_suffix(&[0xff]).unwrap_or(file);
    let text = std::str::from_utf8(file).ok().filter(|text| text.len() <= PATH_MAX)?;
    let parts: Vec<&str> = text.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    let good = |part: &&str| *part != ".." && !part.chars().any(char::is_control);
    ((1..=DEPTH_MAX).contains(&parts.len()) && parts.iter().all(good)).then(|| parts.join("/"))
}

/// A block of a file.
pub fn data(block: u64, bytes: &[u8]) -> Vec<u8> {
    // the number wraps, as every client that takes such files expects
    [&opcode::DATA.to_be_bytes()[..], &(block as u16).to_be_bytes(), bytes].concat()
}

/// Everything up to this block has come.
pub fn ack(block: u64) -> Vec<u8> {
    [opcode::ACK.to_be_bytes(), (block as u16).to_be_bytes()].concat()
}

/// The options that are granted; `size`: bytes of the file. `None`: there are none.
pub fn oack(options: Options, size: u64) -> Option<Vec<u8>> {
    if options == Options::default() {
        return None;
    }
    let mut out = opcode::OACK.to_be_bytes().to_vec();
    let pairs = [
        ("blksize", options.block.map(u64::from)),
        ("timeout", options.timeout.map(u64::from)),
        ("tsize", options.size.then_some(size)),
        ("windowsize", options.window.map(u64::from)),
    ];
    for (name, value) in pairs {
        if let Some(value) = value {
            out.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
    }
    Some(out)
}

/// A refusal, which ends the transfer.
pub fn error(fault: Fault, text: &str) -> Vec<u8> {
    [&opcode::ERROR.to_be_bytes()[..], &(fault as u16).to_be_bytes(), text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_of_clients() {
        // curl 7.88's, tftp-hpa's, and one with every option
        let curl = b"\0\x01zephyr.bin\0octet\0tsize\x000\0blksize\x00512\0timeout\x006\0";
        let Some(Packet::Read(request)) = Packet::read(curl) else { panic!("curl") };
        assert_eq!((request.file, request.octet), (&b"zephyr.bin"[..], true));
        assert_eq!(request.options, Options { block: Some(512), timeout: Some(6), size: true, window: None });
        let hpa = b"\0\x01a/b\0octet\0";
        let Some(Packet::Read(request)) = Packet::read(hpa) else { panic!("hpa") };
        assert_eq!((request.file, request.options), (&b"a/b"[..], Options::default()));
        let every = b"\0\x01uImage\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0windowsize\x0064\0";
        let Some(Packet::Read(request)) = Packet::read(every) else { panic!("every") };
        let granted = request.options.granted(1400);
        assert_eq!((granted.block_len(), granted.window_len()), (1400, 32));
        assert_eq!(oack(granted, 99).unwrap(), b"\0\x06blksize\x001400\0timeout\x005\0tsize\x0099\0windowsize\x0032\0");
    }

    #[test]
    fn odd_packets() {
        assert_eq!(Packet::read(b"\0\x04\0\x07"), Some(Packet::Ack(7)));
        assert!(
            matches!(Packet::read(b"\0\x02x\0octet\0tsize\x0099\0"), Some(Packet::Write(it)) if it.size == Some(99))
        );
        assert_eq!(Packet::read(b"\0\x03\x01\x02ab"), Some(Packet::Data(0x102, b"ab")));
        assert_eq!(Packet::read(b"\0\x05\0\x03full\0"), Some(Packet::Error));
        for bad in [
            &b"\0\x04\0"[..],
            b"\0\x01file",
            b"\0\x01file\0",
            b"\0\x01file\0octet",
            b"\0\x03\0",
            b"\0\x02x\0",
            b"\0",
            b"",
        ] {
            assert_eq!(Packet::read(bad), None, "{}", bad.escape_ascii());
        }
        let wrong = b"\0\x01f\0NETASCII\0blksize\x007\0timeout\x00256\0windowsize\0x\0odd\0";
        let Some(Packet::Read(request)) = Packet::read(wrong) else { panic!("a request") };
        assert_eq!((request.octet, request.options), (false, Options::default()));
    }

    #[test]
    fn no_path_leads_out() {
        for (file, meant) in [
            ("zephyr.bin", Some("zephyr.bin")),
            ("/boot//zephyr.bin", Some("boot/zephyr.bin")),
            ("boot\\zephyr.bin", Some("boot/zephyr.bin")),
            ("./a", Some("a")),
            ("..", None),
            ("../etc/passwd", None),
            ("a/../../b", None),
            ("a\\..\\b", None),
            ("/", None),
            ("", None),
            ("a\nb", None),
            ("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", None),
        ] {
            assert_eq!(path(file.as_bytes()).as_deref(), meant, "{file}");
        }
        assert_eq!(path(b"\xff"), None);
        assert_eq!(path(b"a\xffb"), None);
        assert_eq!(path(b"zephyr.bin\xff").as_deref(), Some("zephyr.bin"));
        assert_eq!(path(&[b'a'; 256]), None);
    }

    proptest! {
        #[test]
        fn a_path_stays_below(file: Vec<u8>, dots in "[./\\\\a]{0,20}") {
            for file in [&file[..], dots.as_bytes()] {
                if let Some(path) = path(file) {
                    prop_assert!(!path.starts_with('/') && !path.ends_with('/'));
                    prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                }
                Packet::read(file);
            }
        }
    }
}
