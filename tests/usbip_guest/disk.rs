//! Disks: file systems on them, how fast they are, and images that shrink or cannot grow.

use super::{LONG, Lab, keys, to};
use support::{Launch, PATIENCE, TempDir, needs, require};

#[test]
fn a_disk_holds_file_systems() {
    require!(needs::guest());
    let dir = TempDir::new();
    for name in ["ext4.img", "vfat.img", "cow.img", "ro.img"] {
        std::fs::File::create(dir.path(name)).unwrap().set_len(24 << 20).unwrap();
    }
    let mut lab = Lab::in_dir(
        dir,
        "disk",
        "device=mass-storage+image=DIR/ext4.img+speed=super,device=mass-storage+image=DIR/vfat.img,\
         device=mass-storage+image=DIR/cow.img+cow,device=mass-storage+image=DIR/ro.img+ro",
    );
    for (busid, make, kind) in [
        ("1-1", "mke2fs -q -F -t ext4 /dev/sda", "ext4"),
        ("1-2", "mkfs.fat -F 16 /dev/sda > /dev/null", "vfat"),
        ("1-3", "mkfs.fat -F 16 /dev/sda > /dev/null", "vfat"),
    ] {
        lab.attach(busid, "test -b /dev/sda");
        let script = format!(
            "set -e\n{make}\nmkdir -p /mnt\nmount -t {kind} /dev/sda /mnt\n\
             head -c 6000000 /dev/urandom > /mnt/a\nsha256sum /mnt/a > /run/sum\numount /mnt\n\
             echo 3 > /proc/sys/vm/drop_caches\nblockdev --flushbufs /dev/sda\n\
             mount -t {kind} -o ro /dev/sda /mnt\nsha256sum -c /run/sum\numount /mnt"
        );
        let ran = lab.guest.run_within(LONG, &script);
        assert!(ran.rc == 0 && ran.output.contains("/mnt/a: OK"), "{busid}: {}", ran.output);
        lab.detach();
        lab.wait("! test -e /dev/sda");
        // Once more after it was taken away: what was written is on the image, or beside it.
        lab.attach(busid, "test -b /dev/sda");
        lab.guest.check(&format!("mount -t {kind} -o ro /dev/sda /mnt && sha256sum -c /run/sum && umount /mnt"));
        lab.detach();
        lab.wait("! test -e /dev/sda");
    }
    lab.attach("1-4", "test -b /dev/sda");
    assert_eq!(lab.guest.check("cat /sys/block/sda/ro").trim(), "1");
    let cow = std::fs::read(lab.dir.path("cow.img")).unwrap();
    assert!(cow.iter().all(|byte| *byte == 0), "its image was written");
    lab.guest.check("! dmesg | grep -E 'I/O error|BUG|Oops'");
    lab.finish();
}

#[test]
fn an_image_that_shrinks_is_a_medium_error() {
    require!(needs::guest());
    let dir = TempDir::new();
    std::fs::File::create(dir.path("disk.img")).unwrap().set_len(8 << 20).unwrap();
    let mut lab = Lab::in_dir(dir, "shrunk", "device=mass-storage+image=DIR/disk.img,device=cdc-acm");
    lab.attach("1-1", "test -b /dev/sda");
    std::fs::File::options().write(true).open(lab.dir.path("disk.img")).unwrap().set_len(1 << 20).unwrap();
    let ran = lab.guest.run_within(LONG, "dd if=/dev/sda of=/dev/null bs=64k skip=64 count=1 2>&1");
    assert!(ran.rc != 0 && ran.output.contains("Input/output error"), "{ran:?}");
    assert!(lab.guest.check("dmesg").contains("Medium Error"));
    lab.guest.check("dd if=/dev/sda of=/dev/null bs=64k count=1 2>&1");
    lab.attach("1-2", "test -c /dev/ttyACM0");
    lab.guest.check("ttyecho /dev/ttyACM0 2000");
    lab.finish();
}

/// The guest is told what is wrong, its other devices go on, and what was written before is there to be read.
#[test]
fn a_full_disk_is_an_error_of_the_disk() {
    require!(needs::guest(), needs::root());
    let dir = TempDir::new();
    std::fs::File::create(dir.path("cow.img")).unwrap().set_len(8 << 20).unwrap();
    // In a mount namespace of its own zbridge has two file systems of one mebibyte: in one the first disk keeps what is
    // written, in the other is the image of the second, with holes.
    for folder in ["aside", "image"] {
        std::fs::create_dir(dir.path(folder)).unwrap();
    }
    let devices =
        "device=mass-storage+image=DIR/cow.img+cow,device=mass-storage+image=DIR/image/disk.img,device=cdc-acm";
    let script = "for folder in aside image; do mount -t tmpfs -o size=1m small \"$1/$folder\" || exit; done\n\
                  truncate -s 8M \"$1/image/disk.img\" && shift && exec \"$@\"";
    let zbridge = Launch::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            &dir.root().display().to_string(),
            env!("CARGO_BIN_EXE_zbridge"),
            "-v",
        ])
        .args(["--port", &format!("unix:{}", dir.text("net")), "--port", &keys(&dir, devices)])
        .env("TMPDIR", dir.path("aside"))
        .spawn();
    zbridge.wait_for("usbip attach", PATIENCE);
    let mut lab = Lab::with(dir, "full", zbridge);
    lab.attach("1-3", "test -c /dev/ttyACM0");
    let disk = to("/dev/sda");
    for busid in ["1-1", "1-2"] {
        lab.attach(busid, "test -b /dev/sda");
        lab.guest
            .check(&format!("dd if=/dev/urandom of=/run/some bs=64k count=2 2>&1\n{disk} conv=fsync < /run/some 2>&1"));
        let ran = lab.guest.run_within(LONG, &format!("{disk} if=/dev/zero bs=64k seek=16 count=48 conv=fsync 2>&1"));
        let told = ["Input/output error", "No space left on device"].iter().any(|told| ran.output.contains(told));
        assert!(ran.rc != 0 && told, "{busid}: {ran:?}");
        // Data protect, space allocation failed (SPC-4, 4.5.6): what a thinly provisioned disk says.
        lab.guest.check("dmesg -c | grep -i 'Sense Key : Data Protect\\|space allocation'");
        let script = "echo 3 > /proc/sys/vm/drop_caches\ndd if=/dev/sda of=/run/again bs=64k count=2 2>&1\ncmp /run/some /run/again";
        lab.guest.check(script);
        lab.guest.check("ttyecho /dev/ttyACM0 2000");
        lab.detach();
        lab.wait("! test -e /dev/sda");
        lab.attach("1-3", "test -c /dev/ttyACM0");
    }
    lab.finish();
}

/// Printed, not judged.
#[test]
fn how_fast_a_disk_is() {
    require!(needs::guest());
    let dir = TempDir::new();
    for name in ["super.img", "high.img"] {
        std::fs::File::create(dir.path(name)).unwrap().set_len(64 << 20).unwrap();
    }
    let devices = "device=mass-storage+image=DIR/super.img+speed=super,device=mass-storage+image=DIR/high.img";
    let mut lab = Lab::in_dir(dir, "speed", devices);
    for (busid, speed) in [("1-1", "super"), ("1-2", "high")] {
        lab.attach(busid, "test -b /dev/sda");
        let write = format!("{} if=/dev/zero conv=fsync", to("/dev/sda"));
        for (what, copy) in [("read", "dd if=/dev/sda of=/dev/null"), ("write", &write)] {
            let script = format!(
                "a=$(cut -d' ' -f1 /proc/uptime); {copy} bs=1M count=64 2> /dev/null || exit 1\n\
                 echo $a $(cut -d' ' -f1 /proc/uptime)"
            );
            let ran = lab.guest.run_within(LONG, &script);
            let times: Vec<f64> = ran.output.split_whitespace().map(|time| time.parse().unwrap()).collect();
            assert!(ran.rc == 0 && times.len() == 2, "{ran:?}");
            println!("{speed} speed, {what}: {:.1} MB/s", f64::from(64 << 20) / 1e6 / (times[1] - times[0]));
        }
        lab.detach();
        lab.wait("! test -e /dev/sda");
    }
    lab.finish();
}
