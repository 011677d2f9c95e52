#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands between a program and the platform's TPM, and stops answering in the middle of a command.

usage: tpm-proxy.py TPM PROXY

TPM and PROXY are the paths of data sockets; the control sockets are beside them (.ctrl). For the TCTI: swtpm:path=PROXY.

PROXY.fault has one line, "CODE before" or "CODE half". CODE is a command's in hexadecimal (TPM 2.0 part 2, 6.5.2). The TPM does the
next such command, and the program gets nothing, or the first half of the response. PROXY.held exists meanwhile. The program gets the
rest once PROXY.fault is removed.
"""
import contextlib
import os
import socket
import sys
import threading
import time

HEADER = 10  # of a command and of a response: tag, size, code (TPM 2.0 part 1, "Command/Response Structure")


def receive(s, size):
    data = b''
    while len(data) < size:
        piece = s.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def receive_message(s):
    header = receive(s, HEADER)
    return header + receive(s, int.from_bytes(header[2:6], 'big') - HEADER)


def fault_for(command):
    try:
        with open(proxy + '.fault') as file:
            code, when = file.read().split()
    except (FileNotFoundError, ValueError):
        return None
    return when if int(code, 16) == int.from_bytes(command[6:10], 'big') else None


def hold():
    open(proxy + '.held', 'w').close()
    while os.path.exists(proxy + '.fault'):
        time.sleep(0.02)
    os.unlink(proxy + '.held')


def serve_data(program, upstream):
    while True:
        command = receive_message(program)
        upstream.sendall(command)
        response = receive_message(upstream)
        when = fault_for(command)
        if when:
            half = len(response) // 2 if when == 'half' else 0
            program.sendall(response[:half])
            response = response[half:]
            hold()
        program.sendall(response)


def serve_control(program, upstream):
    def back():
        with contextlib.suppress(OSError):
            while data := upstream.recv(4096):
                program.sendall(data)
    threading.Thread(target=back, daemon=True).start()
    while data := program.recv(4096):
        upstream.sendall(data)


def serve(program, path, how):
    with program, socket.socket(socket.AF_UNIX) as upstream:
        try:
            upstream.connect(path)
            how(program, upstream)
        except (EOFError, OSError):
            pass  # the program has gone
        # The TPM takes one program at a time. A thread that still reads would keep the connection open.
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)


def listen(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    os.chmod(path, 0o666)
    s.listen(16)
    return s


def accept(listener, path, how):
    while True:
        program, _ = listener.accept()
        threading.Thread(target=serve, args=(program, path, how), daemon=True).start()


tpm, proxy = sys.argv[1:]
control = listen(proxy + '.ctrl')
data = listen(proxy)
print('ready', flush=True)
threading.Thread(target=accept, args=(control, tpm + '.ctrl', serve_control), daemon=True).start()
accept(data, tpm, serve_data)
