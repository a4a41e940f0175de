//! The trap for a system call outside a thread's role: the kernel sends SIGSYS (seccomp(2), `SECCOMP_RET_TRAP`), and
//! this handler reports the call and the role.
//!
//! A debug build exits, so that no test misses it. In a release build the call fails with ENOSYS, as on a kernel that
//! does not know it, which is reported [`MOST`] times at most.

use crate::rights::{current, role};
use std::ffi::CStr;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reports at most.
const MOST: usize = 10;

/// Installs the handler, for all threads. Without it the process would end without a word.
pub fn arm() {
    // SAFETY: the struct is plain integers and a set of signals, for which zeros are valid; the handler is a function
    // with the signature that SA_SIGINFO asks for, and makes only calls that a handler may make (signal-safety(7)).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
}

/// The part of `siginfo_t` that SIGSYS fills in (sigaction(2)): where the call was made, its number, the processor.
#[repr(C)]
struct SysInfo {
    head: [libc::c_int; 3],
    #[cfg(target_pointer_width = "64")]
    padding: libc::c_int,
    call_addr: *mut libc::c_void,
    number: libc::c_int,
    arch: libc::c_uint,
}

extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a whole `siginfo_t`, which is longer than what is read of it.
    let number = i64::from(unsafe { (*info.cast::<SysInfo>()).number });
    // SAFETY: with SA_SIGINFO the context is a `ucontext_t` of this thread, which is nobody else's until this returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    if !is_mallocs(number, context) {
        say(number);
        if cfg!(debug_assertions) {
            // SAFETY: it ends the process, and does nothing else.
            unsafe { libc::_exit(128 + libc::SIGSYS) };
        }
    }
    answer(context);
}

/// Whether this is glibc's malloc(3), which reads the overcommit setting once, when it frees memory. Any thread may do
/// so, and a failure does no harm.
fn is_mallocs(number: i64, context: &libc::ucontext_t) -> bool {
    const FILE: &CStr = c"/proc/sys/vm/overcommit_memory";
    const OPENAT: i64 = libc::SYS_openat as _;
    // SAFETY: the second argument of openat(2) is a string that ends with a zero: the call was made by this program.
    number == OPENAT && unsafe { libc::strcmp(second(context) as *const libc::c_char, FILE.as_ptr()) } == 0
}

/// The second argument of the call.
#[cfg(target_arch = "x86_64")]
fn second(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSI as usize] as usize
}

/// Has the call fail with ENOSYS: the kernel restores the context when the handler returns.
#[cfg(target_arch = "x86_64")]
fn answer(context: &mut libc::ucontext_t) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = -i64::from(libc::ENOSYS);
}

/// The second argument of the call.
#[cfg(target_arch = "aarch64")]
fn second(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.regs[1] as usize
}

/// Has the call fail with ENOSYS: the kernel restores the context when the handler returns.
#[cfg(target_arch = "aarch64")]
fn answer(context: &mut libc::ucontext_t) {
    context.uc_mcontext.regs[0] = (-i64::from(libc::ENOSYS)).cast_unsigned();
}

/// On other processors calls are not filtered ([`crate::rights`]), so the handler is never called there.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn second(_: &libc::ucontext_t) -> usize {
    c"".as_ptr() as usize
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn answer(_: &mut libc::ucontext_t) {}

/// Says it on standard error, in one write and without allocating.
fn say(number: i64) {
    static SAID: AtomicUsize = AtomicUsize::new(0);
    if SAID.fetch_add(1, Ordering::Relaxed) >= MOST {
        return;
    }
    let mut room = [0_u8; 256];
    let mut rest = room.as_mut_slice();
    let (call, role) = (role::name(number).unwrap_or("?"), current().map_or("?", |role| role.name));
    // A line that is cut still tells.
    let _ = writeln!(rest, "error: sandbox: the role {role} called {call} ({number}), which is not in its list");
    let left = rest.len();
    // SAFETY: the pointer is to live memory of the length given. Standard error may be anything, or closed.
    unsafe { libc::write(libc::STDERR_FILENO, room.as_ptr().cast(), room.len() - left) };
}
