//! A serial port between a guest's programs and one at the other end: the line, the carrier, and every byte.

use super::{LONG, Lab, to};
use rustix::termios::tcgetattr;
use std::fs::File;
use std::io::{Read, Write};
use support::{eventually, needs, require};

#[test]
fn a_guests_line_reaches_a_pseudo_terminal_and_its_carrier_the_guest() {
    require!(needs::guest());
    let mut lab = Lab::new("line", "device=cdc-acm+pty=DIR/tty");
    let open = |lab: &Lab| File::options().read(true).write(true).open(lab.dir.path("tty")).unwrap();
    let tty = open(&lab);
    lab.attach("1-1", "test -c /dev/ttyACM0");
    let rate = |tty: &File, rate: u32| {
        eventually(&format!("{rate} bit/s"), || (tcgetattr(tty).unwrap().output_speed() == rate).then_some(()));
    };
    // The program that has it open makes DTR, as its settings make the rate.
    lab.guest.check("(stty 4800 raw -echo -clocal; exec cat > /run/said) < /dev/ttyACM0 2>&1 & echo $! > /run/cat");
    rate(&tty, 4800);
    // Far more than the terminal, the port and the kernel hold: they wait for each other.
    let data: Vec<u8> = (0..400_000_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
    (&tty).write_all(&data).unwrap();
    lab.guest.check(&format!(
        "for i in $(seq 400); do [ $(stat -c %s /run/said) = {} ] && exit; sleep 0.05; done; ls -l /run/said; exit 1",
        data.len()
    ));
    std::fs::write(lab.dir.path("sum"), &data).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(lab.dir.path("sum")).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    let sum = sum.split_whitespace().next().unwrap();
    assert!(lab.guest.check("sha256sum /run/said").starts_with(sum));
    // The carrier is lost: for a port that minds (-clocal) that is a hangup, and the program reads its end.
    drop(tty);
    lab.wait("! kill -0 $(cat /run/cat) 2> /dev/null");
    let tty = open(&lab);
    rate(&tty, 0);
    // The other way, to one who reads slowly.
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 400_000];
        for piece in received.chunks_mut(20_000) {
            (&tty).read_exact(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        (tty, received)
    });
    let ran = lab.guest.run_within(
        LONG,
        &format!("stty -F /dev/ttyACM0 115200 raw -echo clocal && {} < /run/said", to("/dev/ttyACM0")),
    );
    assert_eq!(ran.rc, 0, "{ran:?}");
    let (_tty, received) = reader.join().unwrap();
    assert!(received == data);
    lab.finish();
}
