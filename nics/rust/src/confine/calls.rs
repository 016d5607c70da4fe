//! Which system calls are left: a seccomp filter.
//!
//! What is needed by an interpreter that runs trio, by an engine and by doors, and no more: nothing
//! that starts a program or a process, looks into another one, changes what is mounted or who we are,
//! loads code into the kernel, or takes one of its wide doors (io_uring, userfaultfd, BPF, perf, keys).
//! Some calls are left for some arguments only.
//!
//! What it costs: since Linux 5.11 the kernel works out which calls a filter lets through whatever
//! their arguments, and keeps a bit for each. For those, among them all that move frames, no filter
//! is run. The order of the rules therefore matters to the others alone, which are rare.

use super::Plan;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// Left whatever their arguments are.
#[rustfmt::skip]
const USUAL: &[(&str, i64)] = calls![
    // memory
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk SYS_mincore SYS_membarrier SYS_memfd_create
    // threads, signals, time
    SYS_clone3 SYS_set_robust_list SYS_rseq SYS_exit SYS_exit_group SYS_futex SYS_gettid SYS_getpid SYS_sched_yield
    SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_getscheduler SYS_set_tid_address
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_sigaltstack SYS_restart_syscall
    SYS_wait4 SYS_waitid SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_setitimer SYS_timer_create SYS_timer_settime
    SYS_timer_delete SYS_getcpu
    // descriptors
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_lseek SYS_close SYS_close_range SYS_dup
    SYS_dup3 SYS_pipe2 SYS_fcntl SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_epoll_pwait2 SYS_eventfd2 SYS_fsync SYS_fdatasync SYS_ftruncate SYS_fallocate SYS_flock SYS_fadvise64
    // files, as far as Landlock lets us
    SYS_openat SYS_openat2 SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2
    SYS_readlinkat SYS_getdents64 SYS_getcwd SYS_unlinkat SYS_renameat SYS_renameat2 SYS_mkdirat SYS_fchmod
    SYS_fchmodat SYS_umask
    // sockets; which families, RESTRICTED says
    SYS_bind SYS_connect SYS_listen SYS_accept SYS_accept4 SYS_getsockname SYS_getpeername SYS_sendto SYS_sendmsg
    SYS_sendmmsg SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_shutdown SYS_setsockopt SYS_getsockopt
    // who and where we are
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getppid SYS_getpgid SYS_getsid
    SYS_uname SYS_sysinfo SYS_getrandom SYS_getrusage SYS_times SYS_capget
];

/// The same, where an architecture has them beside the newer ones.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[(&str, i64)] = calls![
    SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_unlink SYS_rmdir SYS_rename SYS_mkdir SYS_chmod SYS_poll
    SYS_select SYS_epoll_wait SYS_epoll_create SYS_eventfd SYS_pipe SYS_dup2 SYS_getpgrp SYS_time SYS_getrlimit
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(&str, i64)] = &[];

/// Left to those who ask for them: a kind of door may need one.
pub const MORE: &[(&str, i64)] = calls![SYS_bpf];

/// Left for some arguments.
const RESTRICTED: &[(&str, i64)] = calls![
    SYS_clone SYS_ioctl SYS_prctl SYS_prlimit64 SYS_setpriority SYS_socket SYS_socketpair SYS_tgkill
];

/// Never left; here for their names.
#[rustfmt::skip]
const REFUSED: &[(&str, i64)] = calls![
    SYS_execve SYS_execveat SYS_unshare SYS_setns SYS_chroot SYS_pivot_root SYS_mount SYS_umount2 SYS_open_tree
    SYS_move_mount SYS_fsopen SYS_mount_setattr SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp
    SYS_pidfd_open SYS_pidfd_getfd SYS_pidfd_send_signal SYS_kill SYS_tkill SYS_rt_sigqueueinfo
    SYS_rt_tgsigqueueinfo SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups
    SYS_setfsuid SYS_setfsgid SYS_setsid SYS_setpgid SYS_capset SYS_personality SYS_seccomp SYS_init_module
    SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon SYS_swapoff SYS_acct SYS_syslog
    SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_add_key
    SYS_request_key SYS_keyctl SYS_name_to_handle_at SYS_open_by_handle_at SYS_quotactl SYS_sethostname
    SYS_setdomainname SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_mknodat SYS_linkat
    SYS_symlinkat SYS_fchown SYS_fchownat SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_memfd_secret
    SYS_fanotify_init SYS_fanotify_mark SYS_inotify_init1 SYS_inotify_add_watch SYS_mbind SYS_migrate_pages
    SYS_move_pages SYS_sched_setscheduler SYS_sched_setparam SYS_sched_setattr SYS_shmget SYS_msgget
    SYS_semget SYS_mq_open SYS_vhangup SYS_process_madvise SYS_landlock_create_ruleset SYS_landlock_add_rule
    SYS_landlock_restrict_self SYS_splice SYS_tee SYS_vmsplice SYS_sendfile SYS_copy_file_range
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_OLDER: &[(&str, i64)] = calls![
    SYS_fork SYS_vfork SYS_iopl SYS_ioperm SYS_modify_ldt SYS_arch_prctl SYS_kexec_file_load SYS_mknod SYS_link
    SYS_symlink SYS_chown SYS_lchown SYS_inotify_init SYS_signalfd
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLDER: &[(&str, i64)] = &[];

/// What a system call is called; None where it has no part here.
#[must_use]
pub fn name(number: i64) -> Option<&'static str> {
    [USUAL, OLDER, MORE, RESTRICTED, REFUSED, REFUSED_OLDER]
        .iter()
        .flat_map(|calls| calls.iter())
        .find_map(|(name, known)| (*known == number).then(|| name.strip_prefix("SYS_")).flatten())
}

/// The filters of `plan`, in the order in which they are to be put on; none where this architecture has
/// none.
pub fn filters(plan: &Plan) -> io::Result<Vec<BpfProgram>> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Ok(Vec::new());
    }
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        USUAL.iter().chain(OLDER).map(|(_, number)| (*number, Vec::new())).collect();
    rules.extend(plan.calls.iter().map(|number| (*number, Vec::new())));
    restrict(plan, &mut rules).map_err(io::Error::other)?;
    // Its arguments lie in memory, where a filter can't look: without it the C library takes `clone`. As
    // it has all signals blocked then, it must not get one.
    let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let no_clone3 = (missing, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32));
    [no_clone3, (rules, SeccompAction::Trap, SeccompAction::Allow)]
        .into_iter()
        .map(|(rules, otherwise, then)| compile(rules, otherwise, then).map_err(io::Error::other))
        .collect()
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, otherwise, then, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn restrict(
    plan: &Plan,
    rules: &mut BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<(), seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    // A flag or number of 32 bits; the kernel ignores what is above.
    let word = |argument, operator, value: i64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value as u64 & 0xFFFF_FFFF)
    };
    // Threads, no processes.
    let thread = i64::from(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![word(0, MaskedEq(thread as u64), thread)?])?]);
    // Nothing is typed into the terminal that we may have been started from (TIOCSTI, TIOCLINUX).
    let not_typed = vec![
        word(1, Ne, i64::try_from(libc::TIOCSTI).unwrap_or(0))?,
        word(1, Ne, i64::try_from(libc::TIOCLINUX).unwrap_or(0))?,
    ];
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(not_typed)?]);
    /// Gives a memory area a name; the allocator does.
    const PR_SET_VMA: i32 = 0x5356_4d41;
    let harmless = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_GET_DUMPABLE,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_GET_SECCOMP,
        libc::PR_CAPBSET_READ,
        libc::PR_GET_MDWE,
        PR_SET_VMA,
    ];
    let each = |argument: u8, values: &[i32]| {
        values
            .iter()
            .map(|value| SeccompRule::new(vec![word(argument, Eq, i64::from(*value))?]))
            .collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_prctl, each(0, &harmless)?);
    // Our own limits, which only go down.
    rules.insert(libc::SYS_prlimit64, each(0, &[0])?);
    // A thread's own priority, which only goes down: that of captures' writers.
    let own = vec![word(0, Eq, i64::from(libc::PRIO_PROCESS))?, word(1, Eq, 0)?];
    rules.insert(libc::SYS_setpriority, vec![SeccompRule::new(own)?]);
    rules.insert(libc::SYS_socketpair, each(0, &[libc::AF_UNIX])?);
    if !plan.families.is_empty() {
        rules.insert(libc::SYS_socket, each(0, &plan.families)?);
    }
    // Signals to ourselves; what Landlock may not know yet.
    rules.insert(libc::SYS_tgkill, each(0, &[std::process::id() as i32])?);
    Ok(())
}

/// Put the filters on every thread. False: there are none, or the kernel has no seccomp.
pub fn apply(filters: &[BpfProgram]) -> io::Result<bool> {
    for filter in filters {
        match seccompiler::apply_filter_all_threads(filter) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error))
                if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(!filters.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_lists() {
        let mut seen = BTreeMap::new();
        for list in [USUAL, OLDER, MORE, RESTRICTED, REFUSED, REFUSED_OLDER] {
            for (name, number) in list {
                assert_eq!(seen.insert(*number, *name), None, "{name}");
            }
        }
    }

    #[test]
    fn names() {
        assert_eq!(name(libc::SYS_ptrace), Some("ptrace"));
        assert_eq!(name(libc::SYS_read), Some("read"));
        assert_eq!(name(9999), None);
    }

    /// The second filter comes first in the kernel's eyes: both are run, and the stricter answer counts.
    #[test]
    fn filters_are_small_enough() {
        let plan = Plan { families: vec![libc::AF_UNIX, libc::AF_INET], ..Plan::default() };
        let programs = filters(&plan).unwrap_or_default();
        assert!(programs.iter().all(|program| (1..4096).contains(&program.len())));
    }
}
