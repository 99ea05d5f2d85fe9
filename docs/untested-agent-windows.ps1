# Tries the Fleetward agent on Windows and writes what it saw to fleetward-agent-windows.txt: please send that file back.
# It needs Python 3.11 or later, a control plane that this machine reaches, and an activation. Nothing is installed for
# good; in an elevated PowerShell the task that starts with the system is tried as well and removed again.
#
#   .\untested-agent-windows.ps1 -Endpoint https://cp.example:8443 -CaSha256 ... -ActivationId ... -ActivationCode ...
param(
    [Parameter(Mandatory)] [string] $Endpoint,
    [Parameter(Mandatory)] [string] $CaSha256,
    [Parameter(Mandatory)] [string] $ActivationId,
    [Parameter(Mandatory)] [string] $ActivationCode
)
$report = Join-Path $PWD 'fleetward-agent-windows.txt'
$folder = Join-Path $env:TEMP ('fleetward-' + [guid]::NewGuid())
$state = Join-Path $folder 'state'
New-Item -ItemType Directory $folder | Out-Null

$facts = @'
import os, sys
from pathlib import Path
from fleetward.agent import platforms
here = platforms.current()
print(here.platform_type, here.name_and_version(), "machine id:", bool(here.machine_id()), "boot id:", here.boot_id())
print({name: bool(value) for name, value in here.hardware().items()})
print("process mark:", here.process_mark(os.getpid()), "same again:", here.process_mark(os.getpid()) == here.process_mark(os.getpid()))
lock = here.lock(Path(sys.argv[1]) / "lock")
print("lock:", lock is not None, "second refused:", here.lock(Path(sys.argv[1]) / "lock") is None)
'@
$programs = @'
import asyncio, os, time
from fleetward.agent.process import Stop, run_process
async def command(text, seconds=20):
    out = bytearray()
    begun = time.monotonic()
    ended = await run_process(["cmd", "/c", text], folder=None, environment=os.environ, on_output=out.extend,
                              on_errors=out.extend, seconds=seconds, stop=Stop())
    print(ended, bytes(out[:60]), len(out), f"{time.monotonic() - begun:.1f} s")
asyncio.run(command("echo out& echo err 1>&2& exit 7"))
asyncio.run(command("for /L %i in (1,1,20000) do @echo %i"))
asyncio.run(command("ping -n 61 127.0.0.1", seconds=1))
'@

$terminal = @'
import asyncio, re
from fleetward.agent import platforms
from fleetward.agent.platforms.terminal import Launch
async def main():
    here = platforms.current()
    launch = Launch(here.session_shell(), here.session_environment(None), here.session_folder(None), None)
    terminal, out = here.open_terminal(launch), bytearray()
    terminal.begin(out.extend, lambda: None)
    async def expect(text):
        for _ in range(300):
            if text in out:
                return True
            await asyncio.sleep(0.1)
        return False
    await asyncio.sleep(3)
    terminal.resize(111, 33)
    terminal.write(b"'size ' + $Host.UI.RawUI.WindowSize\r")
    print("size seen:", await expect(b"size 111,33"))
    terminal.write(b"1..20000 | % { \"line $_\" }; 'do' + 'ne'\r")
    print("long output:", await expect(b"done"), len(out))
    terminal.write(b"Start-Sleep 100\r"); await asyncio.sleep(1); terminal.write(b"\x03")
    terminal.write(b"'af' + 'ter'\r")
    print("Ctrl-C:", await expect(b"after"))
    terminal.write(b"exit 3\r")
    print("exit code:", await terminal.ended())
    await terminal.hang_up()
    again = here.open_terminal(launch)
    again.begin(lambda data: None, lambda: None)
    await asyncio.sleep(2)
    await again.hang_up()
    print("hung up")
asyncio.run(asyncio.wait_for(main(), 120))
'@

function Step($name) { "`r`n== $name" }

& {
    Step 'system'; Get-CimInstance Win32_OperatingSystem | Select-Object Caption, Version, OSArchitecture | Format-List
    Step 'install'; python --version; python -m venv "$folder\venv"; & "$folder\venv\Scripts\pip" -q install fleetward
    $program = "$folder\venv\Scripts\fleetward.exe"; $python = "$folder\venv\Scripts\python.exe"
    Step 'what the agent knows of this machine'
    Set-Content "$folder\facts.py" $facts; & $python "$folder\facts.py" $folder
    Step 'programs: output, exit code, time-out of the whole tree'
    Set-Content "$folder\programs.py" $programs; & $python "$folder\programs.py"
    if (Get-Process ping -ErrorAction SilentlyContinue) { 'WRONG: a program outlived its tree' }
    Step 'a terminal: size, output, Ctrl-C, exit code 3, hang up'
    Set-Content "$folder\terminal.py" $terminal; & $python "$folder\terminal.py"
    Step 'join'
    & $program join --endpoint $Endpoint --ca-sha256 $CaSha256 --activation-id $ActivationId `
        --activation-code $ActivationCode --state $state
    Step 'agent: send it AWS-RunPowerShellScript meanwhile, it runs for two minutes'
    $agent = Start-Process $python '-P', '-OO', '-m', 'fleetward.agent', '--state', $state -PassThru `
        -NoNewWindow -RedirectStandardError "$folder\agent.log"
    Start-Sleep 20; "working set: $((Get-Process -Id $agent.Id).WorkingSet64 / 1MB) MiB"
    Start-Sleep 100; Stop-Process -Id $agent.Id; Get-Content "$folder\agent.log"
    Step 'who may read the keys'; icacls "$state\vault\identity.json"
    if (([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()).IsInRole('Administrators')) {
        Step 'task'; & $program agent --state $state --install; Start-Sleep 10
        schtasks /Query /TN FleetwardAgent /V /FO LIST
    }
    Step 'leave'; & $program leave --state $state --purge; "exit code $LASTEXITCODE"; Get-ChildItem $folder
} *> $report

Remove-Item -Recurse -Force $folder -ErrorAction SilentlyContinue
"Please read $report, then send it back."
