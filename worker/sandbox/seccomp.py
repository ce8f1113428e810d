"""The system calls that a program in the sandbox may make: the same under every engine, whose own list is replaced.

An engine's list changes with its version, and an image that finds out scores differently from machine to machine. Those
of older engines also allow io_uring, and sockets of a virtual machine's host (vsock), which no network namespace holds.

What is not named fails with EPERM: what needs a capability anyhow, what reaches other processes, keys, namespaces and
mounts, and large parts of the kernel that no training needs (io_uring, bpf, perf, userfaultfd).
"""

import errno
import json
import socket
from typing import Any

CLONE_NEW = 0x7E020000  # all flags of clone that make a namespace
PERSONALITIES = (0, 0xFFFFFFFF)  # the usual one, and the question for it
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
"""Netlink is how libraries list the network's devices; there is only loopback."""

_NAMES = """
accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_getres clock_gettime
clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat
get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid
getsockname getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr
listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create mincore
mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat
open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
prctl pread64 preadv preadv2 prlimit64 process_madvise process_mrelease pselect6 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto
set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt
shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync sync_file_range
syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork
vmsplice wait4 waitid write writev
"""
ALLOWED = _NAMES.split()


def get_profile() -> str:
    """Return the profile as JSON, as the engine takes it. Programs are of 64 bits: others are killed."""
    rules = [_allow(ALLOWED), _allow(["clone"], _compare("SCMP_CMP_MASKED_EQ", CLONE_NEW, valueTwo=0))]
    rules += [_allow(["personality"], _compare("SCMP_CMP_EQ", number)) for number in PERSONALITIES]
    rules += [_allow(["socket"], _compare("SCMP_CMP_EQ", int(family))) for family in FAMILIES]
    rules.append(_allow(["socketpair"], _compare("SCMP_CMP_EQ", int(socket.AF_UNIX))))
    # Its flags lie in memory, where no filter sees them: told that there is none, libraries use clone.
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}
    return json.dumps(profile, separators=(",", ":"))


def _allow(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _compare(how: str, value: int, **more: int) -> dict[str, Any]:
    """Return a condition on the first argument."""
    return {"index": 0, "value": value, "op": how, **more}
