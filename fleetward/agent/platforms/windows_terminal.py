"""Terminals of Windows: a pseudo console (ConPTY), read and written by threads. Not yet run: docs/untested.md."""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from ctypes import wintypes

from fleetward.agent.platforms.terminal import Launch

assert sys.platform == "win32"

READ_BYTES = 64 * 1024
GRACE_SECONDS = 1.0
QUIET_SECONDS = 0.3
FIRST_COLUMNS, FIRST_ROWS = 80, 24

_EXTENDED_STARTUPINFO_PRESENT = 0x0008_0000
_CREATE_UNICODE_ENVIRONMENT = 0x0000_0400
_PSEUDOCONSOLE_ATTRIBUTE = 0x0002_0016
_INFINITE = 0xFFFF_FFFF

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)


class _Coord(ctypes.Structure):
    _fields_ = (("x", wintypes.SHORT), ("y", wintypes.SHORT))


class _StartupInfo(ctypes.Structure):
    _fields_ = (
        ("cb", wintypes.DWORD),
        ("lpReserved", wintypes.LPWSTR),
        ("lpDesktop", wintypes.LPWSTR),
        ("lpTitle", wintypes.LPWSTR),
        ("dwX", wintypes.DWORD),
        ("dwY", wintypes.DWORD),
        ("dwXSize", wintypes.DWORD),
        ("dwYSize", wintypes.DWORD),
        ("dwXCountChars", wintypes.DWORD),
        ("dwYCountChars", wintypes.DWORD),
        ("dwFillAttribute", wintypes.DWORD),
        ("dwFlags", wintypes.DWORD),
        ("wShowWindow", wintypes.WORD),
        ("cbReserved2", wintypes.WORD),
        ("lpReserved2", ctypes.c_void_p),
        ("hStdInput", wintypes.HANDLE),
        ("hStdOutput", wintypes.HANDLE),
        ("hStdError", wintypes.HANDLE),
    )


class _StartupInfoEx(ctypes.Structure):
    _fields_ = (("StartupInfo", _StartupInfo), ("lpAttributeList", ctypes.c_void_p))


class _ProcessInformation(ctypes.Structure):
    _fields_ = (
        ("hProcess", wintypes.HANDLE),
        ("hThread", wintypes.HANDLE),
        ("dwProcessId", wintypes.DWORD),
        ("dwThreadId", wintypes.DWORD),
    )


def _declare() -> None:
    """Handles are pointers: without these, ctypes would cut them to 32 bits."""
    pointer = ctypes.c_void_p
    _kernel32.CreatePseudoConsole.argtypes = (
        _Coord, wintypes.HANDLE, wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(pointer),
    )  # fmt: skip
    _kernel32.CreatePseudoConsole.restype = ctypes.c_long
    _kernel32.ResizePseudoConsole.argtypes = (pointer, _Coord)
    _kernel32.ResizePseudoConsole.restype = ctypes.c_long
    _kernel32.ClosePseudoConsole.argtypes = (pointer,)
    _kernel32.ClosePseudoConsole.restype = None
    _kernel32.CreatePipe.argtypes = (
        ctypes.POINTER(wintypes.HANDLE), ctypes.POINTER(wintypes.HANDLE), pointer, wintypes.DWORD,
    )  # fmt: skip
    _kernel32.InitializeProcThreadAttributeList.argtypes = (
        pointer, wintypes.DWORD, wintypes.DWORD, ctypes.POINTER(ctypes.c_size_t),
    )  # fmt: skip
    _kernel32.UpdateProcThreadAttribute.argtypes = (
        pointer, wintypes.DWORD, ctypes.c_size_t, pointer, ctypes.c_size_t, pointer, pointer,
    )  # fmt: skip
    _kernel32.DeleteProcThreadAttributeList.argtypes = (pointer,)
    _kernel32.DeleteProcThreadAttributeList.restype = None
    _kernel32.CreateProcessW.argtypes = (
        wintypes.LPCWSTR, wintypes.LPWSTR, pointer, pointer, wintypes.BOOL, wintypes.DWORD, pointer, wintypes.LPCWSTR,
        pointer, ctypes.POINTER(_ProcessInformation),
    )  # fmt: skip
    _kernel32.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    _kernel32.GetExitCodeProcess.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
    _kernel32.TerminateProcess.argtypes = (wintypes.HANDLE, wintypes.UINT)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)


_declare()


class WindowsTerminal:
    """One program in a pseudo console; three threads wait for what cannot be waited for otherwise."""

    def __init__(self, launch: Launch, kill_tree: Callable[[int], None]) -> None:
        import msvcrt

        self._loop = asyncio.get_running_loop()
        self._kill_tree = kill_tree
        self._may_read = threading.Event()
        self._dry = asyncio.Event()
        self._over = asyncio.Event()
        self._read_at = 0.0
        self._typed: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._backlog = 0
        self._exit_code = 1
        theirs_in, ours_in = _pipe()
        ours_out, theirs_out = _pipe()
        self._console = ctypes.c_void_p()
        try:
            size = _Coord(FIRST_COLUMNS, FIRST_ROWS)
            failed = _kernel32.CreatePseudoConsole(size, theirs_in, theirs_out, 0, ctypes.byref(self._console))
            if failed:
                raise OSError(f"there is no pseudo console on this Windows: {failed & 0xFFFF_FFFF:#x}")
        finally:
            _kernel32.CloseHandle(theirs_in)
            _kernel32.CloseHandle(theirs_out)
        self._input = msvcrt.open_osfhandle(_value(ours_in), os.O_BINARY)
        self._output = msvcrt.open_osfhandle(_value(ours_out), os.O_BINARY | os.O_RDONLY)
        try:
            self._process = _start(launch, self._console)
        except BaseException:
            self._close()
            raise

    def begin(self, on_output: Callable[[bytes], None], on_written: Callable[[], None]) -> None:
        """Start to read."""
        self._on_output = on_output
        self._on_written = on_written
        self._may_read.set()
        for work in (self._read, self._write, self._wait):
            threading.Thread(target=work, daemon=True).start()

    def pause(self) -> None:
        """Read no more for now."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read on."""
        self._may_read.set()

    def write(self, data: bytes) -> None:
        """Type something."""
        self._backlog += len(data)
        self._typed.put(data)

    @property
    def backlog(self) -> int:
        """Bytes that were typed and not yet taken."""
        return self._backlog

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the console."""
        if self._console:
            _kernel32.ResizePseudoConsole(self._console, _Coord(columns, rows))

    async def ended(self) -> int:
        """Wait until the program has ended and its output is read."""
        await self._over.wait()
        self._read_at = self._loop.time()
        while not self._dry.is_set():
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._dry.wait()
            except TimeoutError:
                if self._may_read.is_set() and self._loop.time() - self._read_at >= QUIET_SECONDS:
                    break  # the console stays open for as long as nobody closes it
        return self._exit_code

    async def hang_up(self) -> None:
        """Close the console, which ends what runs in it; then the program's tree, if that lasts."""
        self._typed.put(None)
        self._may_read.set()
        await asyncio.to_thread(self._close)
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._over.wait()
        except TimeoutError:
            await asyncio.to_thread(self._kill_tree, self._process.dwProcessId)
            _kernel32.TerminateProcess(self._process.hProcess, 1)

    def _close(self) -> None:
        """Waits for the console's own end, which needs its output to be read meanwhile."""
        console, self._console = self._console, ctypes.c_void_p()
        if console:
            _kernel32.ClosePseudoConsole(console)

    def _read(self) -> None:
        while self._may_read.wait():
            try:
                piece = os.read(self._output, READ_BYTES)
            except OSError:
                piece = b""
            if not piece:
                break
            self._loop.call_soon_threadsafe(self._take, piece)
        os.close(self._output)
        self._loop.call_soon_threadsafe(self._dry.set)

    def _take(self, piece: bytes) -> None:
        self._read_at = self._loop.time()
        self._on_output(piece)

    def _write(self) -> None:
        while (data := self._typed.get()) is not None:
            left = data
            try:
                while left:
                    left = left[os.write(self._input, left) :]
            except OSError:
                break
            self._loop.call_soon_threadsafe(self._wrote, len(data))
        os.close(self._input)

    def _wrote(self, size: int) -> None:
        self._backlog -= size
        self._on_written()

    def _wait(self) -> None:
        _kernel32.WaitForSingleObject(self._process.hProcess, _INFINITE)
        code = wintypes.DWORD()
        if _kernel32.GetExitCodeProcess(self._process.hProcess, ctypes.byref(code)):
            self._exit_code = code.value
        for handle in (self._process.hThread, self._process.hProcess):
            _kernel32.CloseHandle(handle)
        self._loop.call_soon_threadsafe(self._over.set)


def _pipe() -> tuple[wintypes.HANDLE, wintypes.HANDLE]:
    read_end, write_end = wintypes.HANDLE(), wintypes.HANDLE()
    if not _kernel32.CreatePipe(ctypes.byref(read_end), ctypes.byref(write_end), None, 0):
        raise ctypes.WinError(ctypes.get_last_error())
    return read_end, write_end


def _value(handle: wintypes.HANDLE) -> int:
    value = handle.value
    if value is None:
        raise OSError("a pipe has no handle")
    return value


def _start(launch: Launch, console: ctypes.c_void_p) -> _ProcessInformation:
    line = launch.command if isinstance(launch.command, str) else subprocess.list2cmdline(launch.command)
    size = ctypes.c_size_t()
    _kernel32.InitializeProcThreadAttributeList(None, 1, 0, ctypes.byref(size))
    attributes = ctypes.create_string_buffer(size.value)
    if not _kernel32.InitializeProcThreadAttributeList(attributes, 1, 0, ctypes.byref(size)):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        return _create(launch, line, attributes, console)
    finally:
        _kernel32.DeleteProcThreadAttributeList(attributes)


def _create(
    launch: Launch, line: str, attributes: ctypes.Array[ctypes.c_char], console: ctypes.c_void_p
) -> _ProcessInformation:
    if not _kernel32.UpdateProcThreadAttribute(
        attributes, 0, _PSEUDOCONSOLE_ATTRIBUTE, console, ctypes.sizeof(console), None, None
    ):
        raise ctypes.WinError(ctypes.get_last_error())
    startup = _StartupInfoEx()
    startup.StartupInfo.cb = ctypes.sizeof(startup)
    startup.lpAttributeList = ctypes.addressof(attributes)
    process = _ProcessInformation()
    flags = _EXTENDED_STARTUPINFO_PRESENT | _CREATE_UNICODE_ENVIRONMENT
    environment = ctypes.create_unicode_buffer(_block(launch.environment))
    if not _kernel32.CreateProcessW(
        None,
        ctypes.create_unicode_buffer(line),
        None,
        None,
        False,
        flags,
        environment,
        launch.folder,
        ctypes.byref(startup),
        ctypes.byref(process),
    ):
        raise ctypes.WinError(ctypes.get_last_error())
    return process


def _block(environment: Mapping[str, str]) -> str:
    """The variables as Windows wants them: sorted, each ended by a NUL; the buffer adds the last one."""
    return "".join(f"{name}={environment[name]}\0" for name in sorted(environment, key=str.upper))
