//! The system calls that are left, by name; every other one is answered as by a kernel that does not know it.
//!
//! `ENOSYS` and not `EPERM`, for libraries know how to live without a call that is not there: glibc starts a thread
//! with `clone` where there is no `clone3`, whose flags a filter cannot see. Numbers of another architecture, x32's among
//! them, end the process or are in no list.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use crate::{Allowed, ConfineError};

/// Without conditions: none of them opens, starts, or reaches anything that the process does not hold.
const PLAIN: &[i64] = &[
    // Descriptors that are there.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets that are there.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_listen,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    // Threads and their signals.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // Time, randomness, and what the process is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// Older forms of the same, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// What opening files takes; which ones, Landlock decides.
#[cfg(target_arch = "x86_64")]
const OPENING: &[i64] = &[
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];

/// What connecting takes beside `socket`; where to, Landlock decides. A resolver sends several questions at once.
const CONNECTING: &[i64] = &[libc::SYS_connect, libc::SYS_sendmmsg, libc::SYS_recvmmsg];

/// prctl(2): a name for a thread, and one for its memory.
const PR_SET_NAME: u64 = 15;
const PR_SET_VMA: u64 = 0x5356_4d41;
/// What is asked of terminals and sockets. `TIOCSTI`, which types into a terminal, is not among them.
const IOCTLS: [u64; 4] = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS, libc::TIOCGWINSZ];

/// Puts the filter in force for every thread. Says whether the kernel has filters.
pub(crate) fn filter(allowed: &Allowed) -> Result<bool, ConfineError> {
    let Some(arch) = architecture() else {
        return Ok(false);
    };
    let program = program(allowed, arch).map_err(|error| ConfineError::new(&error))?;
    match seccompiler::apply_filter_all_threads(&program) {
        Ok(()) => Ok(true),
        // The kernel was built without filters.
        Err(seccompiler::Error::Seccomp(error)) if is_unknown(&error) => Ok(false),
        Err(error) => Err(ConfineError::new(&error)),
    }
}

/// Whether the calling thread can put a filter in force; it does, with one that allows everything.
pub(crate) fn is_supported() -> bool {
    let all = |arch| {
        let allow = (SeccompAction::Allow, SeccompAction::Log);
        SeccompFilter::new(BTreeMap::new(), allow.0, allow.1, arch)
    };
    architecture()
        .and_then(|arch| BpfProgram::try_from(all(arch).ok()?).ok())
        .is_some_and(|program| apply_filter(&program).is_ok())
}

fn is_unknown(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

fn architecture() -> Option<TargetArch> {
    std::env::consts::ARCH.try_into().ok()
}

fn program(allowed: &Allowed, arch: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut plain = |calls: &[i64]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    plain(PLAIN);
    plain(OLDER);
    if !allowed.files.is_empty() {
        plain(OPENING);
    }
    if !allowed.connect.is_empty() {
        plain(CONNECTING);
    }
    let equal = SeccompCmpOp::Eq;
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    // A new thread, and no new process.
    let masked = condition(0, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![masked])?]);
    // What `abort` sends, to this process alone.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, any(0, &equal, &[own])?);
    // Its own limits, not those of another.
    rules.insert(libc::SYS_prlimit64, any(0, &equal, &[0])?);
    rules.insert(libc::SYS_prctl, any(0, &equal, &[PR_SET_NAME, PR_SET_VMA])?);
    rules.insert(libc::SYS_ioctl, any(1, &equal, &IOCTLS)?);
    let family = |name: i32| u64::from(name.unsigned_abs());
    rules.insert(libc::SYS_socketpair, any(0, &equal, &[family(libc::AF_UNIX)])?);
    if !allowed.connect.is_empty() {
        let families = [family(libc::AF_INET), family(libc::AF_INET6)];
        rules.insert(libc::SYS_socket, any(0, &equal, &families)?);
    }
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, unknown, SeccompAction::Allow, arch)?.try_into()
}

/// One rule for each value that the argument may have.
fn any(
    argument: u8,
    comparison: &SeccompCmpOp,
    values: &[u64],
) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![condition(argument, comparison.clone(), *value)?]))
        .collect()
}

fn condition(
    argument: u8,
    comparison: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_leads_out_is_left() {
        let led_out = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_open_by_handle_at,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_mount,
            libc::SYS_fsopen,
            libc::SYS_chroot,
            libc::SYS_socket,
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
        ];
        for call in led_out {
            assert!(!PLAIN.contains(&call) && !OLDER.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_filter_is_one_that_the_kernel_takes() {
        let everything = Allowed {
            files: vec!["/etc/hosts".into()],
            connect: vec![53, 443],
        };
        for allowed in [Allowed::default(), everything] {
            let program = program(&allowed, TargetArch::x86_64).unwrap();
            // linux/bpf_common.h: BPF_MAXINSNS.
            assert!(program.len() <= 4096, "{}", program.len());
        }
    }
}
