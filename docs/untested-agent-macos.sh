#!/bin/sh
# Tries the Fleetward agent on macOS and writes what it saw to fleetward-agent-macos.txt: please send that file back.
# It needs Python 3.11 or later, a control plane that this machine reaches, and an activation. Nothing is installed for
# good; with sudo the launch daemon is tried as well and removed again.
#
#   ENDPOINT=https://cp.example:8443 CA_SHA256=... ACTIVATION_ID=... ACTIVATION_CODE=... sh untested-agent-macos.sh
set -u
report=$PWD/fleetward-agent-macos.txt
folder=$(mktemp -d "${TMPDIR:-/tmp}/fleetward.XXXXXX")
state=$folder/state
: "${ENDPOINT:?}" "${CA_SHA256:?}" "${ACTIVATION_ID:?}" "${ACTIVATION_CODE:?}"

step() { printf '\n== %s\n' "$1"; }

try() {
    step "system"; sw_vers; uname -a
    step "install"; python3 --version; python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install fleetward
    program=$folder/venv/bin/fleetward; python=$folder/venv/bin/python
    step "what the agent knows of this machine"
    "$python" - "$folder" <<'PYTHON'
import os, sys
from pathlib import Path
from fleetward.agent import platforms
here = platforms.current()
print(here.platform_type, here.name_and_version(), "machine id:", bool(here.machine_id()), "boot id:", here.boot_id())
print({name: bool(value) for name, value in here.hardware().items()})
print("process mark:", here.process_mark(os.getpid()), "same again:", here.process_mark(os.getpid()) == here.process_mark(os.getpid()))
lock = here.lock(Path(sys.argv[1]) / "lock")
print("lock:", lock is not None, "second refused:", here.lock(Path(sys.argv[1]) / "lock") is None)
PYTHON
    step "programs: output, exit code, time-out of the whole group"
    "$python" - <<'PYTHON'
import asyncio, os, time
from fleetward.agent.process import Stop, run_process
async def shell(text, seconds=20):
    out = bytearray()
    begun = time.monotonic()
    ended = await run_process(["sh", "-c", text], folder=None, environment=os.environ, on_output=out.extend,
                              on_errors=out.extend, seconds=seconds, stop=Stop())
    print(ended, bytes(out[:60]), len(out), f"{time.monotonic() - begun:.1f} s")
asyncio.run(shell("echo out; echo err >&2; exit 7"))
asyncio.run(shell("yes | head -c 1000000"))
asyncio.run(shell("sleep 60 & sleep 60", seconds=1))
PYTHON
    pgrep -lf "sleep 60" && echo "WRONG: a program outlived its group"
    step "join"
    "$program" join --endpoint "$ENDPOINT" --ca-sha256 "$CA_SHA256" --activation-id "$ACTIVATION_ID" \
        --activation-code "$ACTIVATION_CODE" --state "$state"
    step "agent: send it a command meanwhile, it runs for two minutes"
    "$program" agent --state "$state" & agent=$!
    sleep 20; ps -o rss=,command= -p "$agent"
    sleep 100; kill "$agent"; wait "$agent"; echo "exit code $?"
    if [ "$(id -u)" = 0 ]; then
        step "launch daemon"
        "$program" agent --state "$state" --install; sleep 10
        launchctl print system/com.fleetward.agent | head -20
    fi
    step "leave"; "$program" leave --state "$state" --purge; echo "exit code $?"; ls -la "$folder"
}

try >"$report" 2>&1
rm -rf "$folder"
echo "Please read $report, then send it back."
