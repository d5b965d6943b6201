"""One attempt, from standard input: prints as JSON what came of it."""
import errno, json, sys, traceback
import tricks

scope = dict(vars(tricks))
try:
    exec(compile(sys.stdin.read(), 'attempt', 'exec'), scope)
    outcome = ('escaped', repr(scope.get('result'))[:100000])
except OSError as error:
    outcome = ('stopped', f'{errno.errorcode.get(error.errno, type(error).__name__)} {error.strerror or error}')
except tricks.Stopped as error:
    outcome = ('stopped', str(error))
except BaseException:
    outcome = ('broken', traceback.format_exc()[-1500:])
print(json.dumps(outcome))
