//! System calls: a seccomp filter for each role.
//!
//! A call by a number that is not in the list has the kernel send SIGSYS to the thread, whose handler is in
//! [`crate::port`]'s system-call module. Two are looked at closer: memory may not become code but in a role that
//! [loads](Role::loads) some, and clone3(2), whose flags lie in memory where no filter can look, does not exist, so that
//! the C library takes clone(2), which makes no namespaces here.

use super::role::number;
use super::{Mode, Role};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The flags of clone(2) that make namespaces: NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Whether there is a filter for this processor.
pub fn is_supported() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
}

/// Holds the calling thread to the calls of `role`.
///
/// # Errors
/// The kernel has no filters, or not for this processor.
pub fn apply(role: &Role, mode: Mode) -> Result<(), seccompiler::Error> {
    let otherwise = if mode == Mode::Log { SeccompAction::Log } else { SeccompAction::Trap };
    let rules = rules(role)?;
    // The list comes last: setting a filter is in none but the starter's.
    if let Some(clone3) = number("clone3").filter(|number| rules.contains_key(number)) {
        let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let newer = Rules::from([(clone3, Vec::new())]);
        seccompiler::apply_filter(&compile(newer, SeccompAction::Allow, missing)?)?;
    }
    seccompiler::apply_filter(&compile(rules, otherwise, SeccompAction::Allow)?)
}

fn compile(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let arch = TargetArch::try_from(if is_supported() { std::env::consts::ARCH } else { "" })?;
    Ok(BpfProgram::try_from(SeccompFilter::new(rules, otherwise, matching, arch)?)?)
}

/// A rule without conditions allows the call whatever its arguments are.
fn rules(role: &Role) -> Result<Rules, seccompiler::Error> {
    let mut rules: Rules = role.numbers().map(|number| (number, Vec::new())).collect();
    if !role.loads {
        for number in ["mmap", "mprotect"].into_iter().filter_map(number) {
            rules.insert(number, vec![without(2, libc::PROT_EXEC as u64)?]);
        }
    }
    // What a tracer makes of a call that it answers itself (strace's fault injection): the kernel does nothing for it.
    rules.insert(u32::MAX.into(), Vec::new());
    if let Some(clone) = number("clone").and_then(|number| rules.get_mut(&number)) {
        clone.push(without(0, NAMESPACES)?);
    }
    Ok(rules)
}

/// Argument `index` has none of the bits in `mask`.
fn without(index: u8, mask: u64) -> Result<SeccompRule, seccompiler::Error> {
    let none = SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), 0)?;
    Ok(SeccompRule::new(vec![none])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::role::{BASE, STARTER, THREADS};

    static NARROW: Role = Role::new("narrow", &[BASE]);
    static STARTS: Role = Role::new("starts", &[BASE, THREADS]);

    #[test]
    fn what_is_not_in_the_list_is_refused_and_the_rest_is_not() {
        // On a thread of its own, which the filter stays with; without no_new_privs only root may do it.
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let refuse = SeccompAction::Errno(libc::EXDEV.cast_unsigned());
            let program = compile(rules(&NARROW).unwrap(), refuse, SeccompAction::Allow).unwrap();
            seccompiler::apply_filter(&program).unwrap();
            assert_eq!(std::fs::read("/etc/hostname").unwrap_err().raw_os_error(), Some(libc::EXDEV));
            let socket = std::net::UdpSocket::bind("127.0.0.1:0");
            assert_eq!(socket.unwrap_err().raw_os_error(), Some(libc::EXDEV));
            let big = vec![1u8; 8 << 20];
            assert_eq!(big.iter().map(|&byte| usize::from(byte)).sum::<usize>(), 8 << 20);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_is_started_without_clone3_and_with_no_namespace() {
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            apply(&STARTS, Mode::On).unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        })
        .join()
        .unwrap();
        assert!(rules(&STARTER).unwrap()[&libc::SYS_mmap].is_empty(), "it loads plug-ins");
        assert!(!rules(&STARTS).unwrap()[&libc::SYS_mmap].is_empty());
    }
}
