"""Attempts, each in a process of its own: a list of programs as JSON in, a list of [kind, detail] out."""
import json, signal, subprocess, sys


def attempt(code, seconds=30):
    try:
        ran = subprocess.run(
            [sys.executable, '/attack/trial.py'], input=code, capture_output=True, text=True, errors='replace', timeout=seconds)
    except subprocess.TimeoutExpired:
        return ('stopped', f'no answer in {seconds} s')
    try:
        return json.loads(ran.stdout.strip().rsplit('\n', 1)[-1])
    except ValueError:
        if ran.returncode < 0:
            return ('stopped', f'killed by {signal.Signals(-ran.returncode).name}')
        return ('broken', (ran.stdout + ran.stderr)[-1500:])


if __name__ == '__main__':
    print(json.dumps([attempt(code) for code in json.load(sys.stdin)]))
