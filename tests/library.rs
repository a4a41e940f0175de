//! What a program that embeds zbridge relies on, by its public names alone.

use std::error::Error as _;
use std::io::ErrorKind;
use std::net::TcpListener;
use support::TempDir;
use zbridge::config::PortSpec;
use zbridge::engine::Bridge;
use zbridge::error::{Class, Error};

/// Why a port cannot be added.
fn refusal(spec: &str) -> Error {
    Bridge::empty().unwrap().add_port(PortSpec::parse(spec).unwrap()).unwrap_err()
}

#[test]
fn an_error_tells_what_the_system_has_refused() {
    let dir = TempDir::new();
    let kind = |error: &Error| error.source().unwrap().downcast_ref::<std::io::Error>().map(std::io::Error::kind);

    let error = refusal(&format!("unix:{}", dir.text("nowhere/inst")));
    assert_eq!((error.class(), kind(&error)), (Class::NoObject, Some(ErrorKind::NotFound)), "{error}");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refusal(&format!("tcp:{},listen", taken.local_addr().unwrap()));
    assert_eq!((error.raw_os_error(), kind(&error)), (Some(libc::EADDRINUSE), Some(ErrorKind::AddrInUse)), "{error}");

    // Where the text says it in words of its own, the number stands behind it too.
    std::fs::write(dir.path("file"), "").unwrap();
    let error = refusal(&format!("unix:{}", dir.text("file")));
    assert!(error.what().ends_with("it exists and is no socket"), "{error}");
    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    let error = refusal("packet:zb-nowhere");
    assert!([libc::ENODEV, libc::EPERM].map(Some).contains(&error.raw_os_error()), "{error:?}");

    let error = PortSpec::parse("tpa:zeth0").unwrap_err();
    assert_eq!((error.class(), error.raw_os_error(), error.source().is_none()), (Class::Usage, None, true));
}
