#!/bin/sh
# System packages that tests and the bench want, installed where we may (Debian, root). Elsewhere what needs them is
# skipped by name. None of their services is started.
set -eu
wanted=""
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ] || wanted="$wanted openssh-server"
command -v ssh >/dev/null 2>&1 || wanted="$wanted openssh-client"
command -v socat >/dev/null 2>&1 || wanted="$wanted socat"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$wanted for tests and bench ..."
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
    case "$wanted" in *openssh-server*) systemctl disable ssh ssh.socket >/dev/null 2>&1 || true ;; esac
else
    echo "Not installed, so what needs it is skipped:$wanted"
fi
