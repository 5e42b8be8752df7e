"""Makes this interpreter look like one off Linux, for what is imported after it.

What Python has on Linux only is taken out of its modules; no compiled part of ocikit can be loaded. This shows what
would fail at import or at a call elsewhere, without another machine.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import socket
import sys

#: What Python has on Linux only (and on no macOS), by module; a prefix ends with "*".
LINUX_ONLY = {
    os: """
        O_PATH O_TMPFILE O_NOATIME O_DIRECT MFD_* CLONE_* P_PIDFD EFD_* RWF_* SPLICE_* TFD_* SCHED_BATCH SCHED_IDLE
        GRND_* memfd_create pidfd_open eventfd* splice copy_file_range getxattr setxattr listxattr removexattr
        XATTR_* unshare setns sched_* getrandom posix_fadvise POSIX_FADV_* posix_fallocate fdatasync pipe2
        getresuid getresgid setresuid setresgid
    """,
    select: "epoll EPOLL*",
    signal: "pidfd_send_signal sigwaitinfo sigtimedwait SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT SIGPOLL SIGCLD",
    fcntl: "F_ADD_SEALS F_GET_SEALS F_SEAL_* F_OFD_* F_SETPIPE_SZ F_GETPIPE_SZ F_NOTIFY DN_* F_SETLEASE F_GETLEASE",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK SO_PEERCRED SO_PASSCRED SO_PEERSEC AF_NETLINK AF_PACKET AF_VSOCK NETLINK_*",
    resource: "prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING",
}

sys.platform = "darwin"
sys.modules["ocikit._native._launcher"] = None  # type: ignore[assignment]  # Python's way to say: not to be had
for module, words in LINUX_ONLY.items():
    for word in words.split():
        for name in [name for name in vars(module) if name == word or (word[-1] == "*" and name.startswith(word[:-1]))]:
            delattr(module, name)
