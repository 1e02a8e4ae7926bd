#!/usr/bin/python3
"""smbd_like.py SOCKET DATABASE KEY [--die-holding-after N | --linger | --read]: increments one record as smbd changes records.

The record is a 64-bit counter. Each increment takes the chain lock in the shared file through libtdb itself, looks
whether this node owns the record, asks the daemon to migrate it if not, and stores under the lock (client protocol
section 9.4). Prints "working" at its first increment; ends when a line, or the end, comes on its standard input, and
prints "acknowledged N". With --die-holding-after it kills itself after N increments, with the lock held and
before it would store. With --linger it increments once and then keeps the file open, with the lock held,
whatever becomes of its daemon: a line lets go of the lock, a second one ends it. With --read it only prints "value N", read under the lock.
"""

import argparse
import ctypes
import os
import select
import signal
import socket
import struct
import sys

MAGIC = 0x43544442
REQ_CALL, REPLY_CALL, REQ_CONTROL, REPLY_CONTROL = 0, 1, 7, 8
CURRENT_NODE = 0xF0000001
GETDBPATH, DB_ATTACH, GET_PNN, DB_OPEN_FLAGS = 4, 18, 35, 149
NULL_FUNC, IMMEDIATE_MIGRATION = 0xFF000001, 1
RO_HAVE_DELEGATIONS = 0x01000000

PACKET = struct.Struct("<IIIIIIII")  # length magic version generation operation destnode srcnode reqid
RECORD = struct.Struct("<QIIII")  # rsn dmaster reserved flags padding
COUNTER = struct.Struct("<Q")


class Data(ctypes.Structure):
    """TDB_DATA, passed and returned by value."""

    _fields_ = [("bytes", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    @classmethod
    def of(cls, content):
        buffer = ctypes.create_string_buffer(content, len(content))
        data = cls(ctypes.cast(buffer, ctypes.c_void_p), len(content))
        data.buffer = buffer
        return data


libtdb = ctypes.CDLL("libtdb.so.1", use_errno=True)
libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]
libtdb.tdb_open.restype = ctypes.c_void_p
libtdb.tdb_open.argtypes = [ctypes.c_char_p] + [ctypes.c_int] * 4
libtdb.tdb_fetch.restype = Data
libtdb.tdb_fetch.argtypes = [ctypes.c_void_p, Data]
libtdb.tdb_store.argtypes = [ctypes.c_void_p, Data, Data, ctypes.c_int]
libtdb.tdb_chainlock.argtypes = [ctypes.c_void_p, Data]
libtdb.tdb_chainunlock.argtypes = [ctypes.c_void_p, Data]


class Daemon:
    """The connection to the node's daemon."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.reqid = 0

    def control(self, opcode, data=b""):
        body = struct.pack("<IIQIII", opcode, 0, 0, 0, 0, len(data)) + data
        reply = self.ask(REQ_CONTROL, REPLY_CONTROL, CURRENT_NODE, body)
        status, size, _ = struct.unpack_from("<iII", reply, 32)
        return status, reply[44 : 44 + size]

    def migrate(self, db_id, key):
        body = struct.pack("<IIIIII", IMMEDIATE_MIGRATION, db_id, NULL_FUNC, 0, len(key), 0) + key
        self.ask(REQ_CALL, REPLY_CALL, 0, body)

    def ask(self, operation, answer, destnode, body):
        self.reqid += 1
        header = PACKET.pack(PACKET.size + len(body), MAGIC, 1, 0, operation, destnode, 0, self.reqid)
        self.socket.sendall(header + body)
        while True:
            packet = self.read(4)
            packet += self.read(struct.unpack("<I", packet)[0] - 4)
            fields = PACKET.unpack_from(packet)
            if fields[4] == answer and fields[7] == self.reqid:
                return packet

    def read(self, size):
        content = b""
        while len(content) < size:
            piece = self.socket.recv(size - len(content))
            if not piece:
                sys.exit("the daemon closed the connection")
            content += piece
        return content


class Database:
    """A volatile database as smbd opens it."""

    def __init__(self, daemon, name):
        self.daemon = daemon
        self.pnn, _ = daemon.control(GET_PNN)
        status, db_id = daemon.control(DB_ATTACH, name.encode() + b"\0")
        assert status == 0, f"attach: status {status}"
        self.db_id = struct.unpack("<I", db_id)[0]
        _, path = daemon.control(GETDBPATH, db_id)
        _, flags = daemon.control(DB_OPEN_FLAGS, db_id)
        flags = struct.unpack("<i", flags)[0]
        self.tdb = libtdb.tdb_open(path.rstrip(b"\0"), 0, flags, os.O_RDWR, 0)
        assert self.tdb, f"tdb_open {path}: {os.strerror(ctypes.get_errno())}"

    def lock_owned(self, key):
        """Returns header and content of the record; the chain stays locked."""
        while True:
            assert libtdb.tdb_chainlock(self.tdb, Data.of(key)) == 0
            value = self.fetch(key)
            if len(value) >= RECORD.size:
                _, dmaster, _, flags, _ = RECORD.unpack_from(value)
                if dmaster == self.pnn and not flags & RO_HAVE_DELEGATIONS:
                    return value[: RECORD.size], value[RECORD.size :]
            self.unlock(key)
            self.daemon.migrate(self.db_id, key)

    def fetch(self, key):
        data = libtdb.tdb_fetch(self.tdb, Data.of(key))
        if not data.bytes:
            return b""
        content = ctypes.string_at(data.bytes, data.size)
        libc.free(data.bytes)
        return content

    def store(self, key, value):
        assert libtdb.tdb_store(self.tdb, Data.of(key), Data.of(value), 0) == 0

    def unlock(self, key):
        assert libtdb.tdb_chainunlock(self.tdb, Data.of(key)) == 0


arguments = argparse.ArgumentParser()
arguments.add_argument("socket")
arguments.add_argument("database")
arguments.add_argument("key")
arguments.add_argument("--die-holding-after", type=int)
arguments.add_argument("--linger", action="store_true")
arguments.add_argument("--read", action="store_true")
arguments = arguments.parse_args()

database = Database(Daemon(arguments.socket), arguments.database)
key = arguments.key.encode()
acknowledged = 0
if arguments.read:
    _, content = database.lock_owned(key)
    database.unlock(key)
    print("value", COUNTER.unpack(content)[0] if content else 0)
    sys.exit()
while not select.select([sys.stdin], [], [], 0)[0]:
    header, content = database.lock_owned(key)
    if acknowledged == arguments.die_holding_after:
        print("acknowledged", acknowledged, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    value = COUNTER.unpack(content)[0] if content else 0
    database.store(key, header + COUNTER.pack(value + 1))
    if arguments.linger:
        print("working", flush=True)
        sys.stdin.readline()
        database.unlock(key)
        sys.stdin.readline()
        sys.exit()
    database.unlock(key)
    acknowledged += 1
    if acknowledged == 1:
        print("working", flush=True)
print("acknowledged", acknowledged, flush=True)
