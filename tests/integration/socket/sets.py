#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs inside the throw-away machine. Prints which set of secrets the store, the credential socket and status.json show.

old     version 1 of both secrets, for old.service, and old-only
new     version 2 of both secrets, for new.service, and new-only
kept    version 1 of both secrets, as the new configuration declares them: what a restart of unseald makes of the old set
Anything else is printed as it is.
"""
import json
import os
import random
import socket

STORE = '/run/unseald/credentials'
NAMES = ('db-password', 'api-key', 'old-only', 'new-only')


def ask(unit, name):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.bind('\0%x/unit/%s/%s' % (random.getrandbits(60), unit, name))
        try:
            s.connect(STORE + '.sock')
            s.shutdown(socket.SHUT_WR)
            data = b''
            while len(data) <= 1 << 20:
                piece = s.recv(1 << 18)
                if not piece:
                    break
                data += piece
        except OSError as e:
            return type(e).__name__
    # systemd gives a unit no credential of more than 1 MiB: so unseald refuses.
    return '-' if len(data) > 1 << 20 else data.decode(errors='replace')


def read(name):
    with open(os.path.join(STORE, name)) as file:
        return file.read()


def shown(label, contents):
    return label + ' ' + ' '.join('%s=%s' % (name, contents.get(name, '-')) for name in NAMES)


def see():
    hidden = [name for name in os.listdir(STORE) if name.startswith('.')]
    lines = [shown('store', {name: read(name) for name in os.listdir(STORE) if name not in hidden})]
    lines += [shown(unit, {name: ask(unit + '.service', name) for name in NAMES}) for unit in ('old', 'new')]
    lines.append(published())
    return '; '.join(lines + (['hidden ' + ' '.join(hidden)] if hidden else []))


def published():
    try:
        status = json.load(open('/run/unseald/status.json'))
    except FileNotFoundError:
        return 'no status'
    return ' '.join(['status', status['state']] +
                    sorted('%s=%s' % (s['name'], ','.join(s['units'])) for s in status['secrets'] if s['state'] == 'published'))


def wanted(version, unit, status=True):
    have = {'db-password': version, 'api-key': version, unit + '-only': unit + '-only'}
    return '; '.join([shown('store', have), shown('old', have if unit == 'old' else {}), shown('new', have if unit == 'new' else {}),
                      'status unsealed ' + ' '.join('%s=%s.service' % (name, unit) for name in sorted(have)) if status else 'no status'])


sets = {wanted('1', 'old'): 'old', wanted('2', 'new'): 'new', wanted('1', 'new'): 'kept',
        wanted('2', 'new', status=False): 'new, no status.json'}
seen = see()
print(sets.get(seen, seen))
