"""The shared part of all commands: reads a config with its overrides, turns errors into one line and an exit code."""

import contextlib
import inspect
import os
import re
import sys
import traceback

from absl import flags, logging
import ml_collections
from ml_collections import config_flags

from biggan_jax import config as configs
from biggan_jax import experiment
from biggan_jax.errors import BigGANError, DataError, StorageError, UsageError


def run(main) -> None:
    """Calls `main(arguments)` and exits with its code; a BigGANError becomes a line on stderr, and one for each of its
    notes, and its own code. So does a file that the system will not open, read or write, code 3, whoever asked for it.
    Output that nobody reads ends nothing.
    """
    sys.unraisablehook = _without_late_reads
    logging.set_verbosity(logging.FATAL)  # Orbax logs hundreds of lines of what it raises as well
    with contextlib.redirect_stdout(_Output(sys.stdout)), contextlib.redirect_stderr(_Output(sys.stderr)):
        code = _run(main)
        sys.stdout.flush()
    sys.exit(code)


def _run(main) -> int:
    try:
        return main([with_homes(argument) for argument in sys.argv[1:]]) or 0
    except BigGANError as error:
        for line in (f"error: {error}", *getattr(error, "__notes__", ())):
            print(" ".join(line.split()), file=sys.stderr)
        if isinstance(error, StorageError):
            sys.stderr.flush()
            os._exit(error.exit_code)  # threads of Orbax would wait ten minutes for a save that cannot end
        return error.exit_code
    except OSError as error:
        if not error.filename:  # not a file's fault
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return DataError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def with_homes(argument: str) -> str:
    """`argument` with the home folder for a ~ that begins a path in it, at its start or behind =, : or a comma: a shell
    leaves that of --workdir=~/runs alone. Values of the config are for those who read them.
    """
    if argument.startswith("--config."):
        return argument
    return re.sub(r"(^|[=:,])(~\w*)(?=/|$)", lambda found: found[1] + os.path.expanduser(found[2]), argument)


class _Output:
    """Standard output or error. When its reader leaves, as `head` does, or where it is closed, what is written goes
    nowhere; what its encoding lacks is written as an escape.
    """

    def __init__(self, stream):
        self._stream = stream or open(os.devnull, "w")
        self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with self._to_nobody():
            self._stream.write(text)
        return len(text)

    def flush(self):
        with self._to_nobody():
            self._stream.flush()

    @contextlib.contextmanager
    def _to_nobody(self):
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _without_late_reads(unraisable) -> None:
    """Orbax reads arrays side by side; when one cannot be read, the others report to an event loop that is gone. The
    first error says it all.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def add_config_argument(parser) -> None:
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME[:key=value,...]",
        help="an experiment: a file, or the name of one in experiments/, such as digits or family/gan",
    )
    parser.epilog = "Any key of the config can be changed: --config.batch_size=64 --config.model.channels=32"


def parse(parser, arguments, complete=lambda config: None):
    """`(options, config)`: the parser's options, and the validated config of `--config` with its `--config.key=value`
    overrides. `complete(config)` sets what the config leaves open, before it is validated.
    """
    options, rest = parser.parse_known_args(arguments)
    for argument in rest:
        if not argument.startswith("--config."):
            parser.error(f"unrecognized argument {argument}")
    config = override(load_config(options.config), rest)
    configs.check_keys(config)  # before the data are looked at, which takes its time
    if configs.left_open(config):
        complete(config)
    configs.validate(config)
    return options, config


def load_config(spec: str):
    """The config of `FILE.py` or `FILE.py:variant`. Raises UsageError when there is none."""
    module, variant = load_module("config", spec)
    if not hasattr(module, "get_config"):
        raise UsageError(f"--config={spec}: that file has no get_config")
    takes_none = callable(module.get_config) and not inspect.signature(module.get_config).parameters
    if takes_none and variant:
        raise UsageError(f"--config={spec}: get_config() of that file takes no variant; leave out :{variant}")
    config = call("config", spec, module.get_config, *(() if takes_none else (variant,)))
    if not isinstance(config, ml_collections.ConfigDict):
        raise UsageError(f"--config={spec}: get_config gives {config!r:.80}; allowed: a config, see biggan_jax.config")
    return config


def load_paper(spec: str) -> dict:
    """The published figures of the experiment `FILE.py` or `FILE.py:variant`, by name; none where it has none."""
    module, variant = load_module("config", spec)
    return call("config", spec, module.get_paper, variant) if hasattr(module, "get_paper") else {}


def load_module(option: str, spec: str):
    """`(module, variant)` of `FILE.py:variant` or `NAME:variant`, the value of --`option`, see `experiment`. Raises
    UsageError.
    """
    return call(option, spec, experiment.load, experiment.find(option, spec)), experiment.split(spec)[1]


def call(option: str, spec: str, function, *arguments):
    """`function(*arguments)`, of a user's file: what it raises becomes a UsageError, with the place in that file as its
    note.
    """
    try:
        return function(*arguments)
    except BigGANError:
        raise
    except Exception as error:
        refused = UsageError(f"--{option}={spec}: {type(error).__name__}: {_said(error)}")
        refused.add_note(_place(error, experiment.find(option, spec)))
        raise refused from error


def _said(error: Exception) -> str:
    """What an error says. Of a misspelt key ml_collections lists all others as well: only the near one is kept."""
    message = getattr(error, "msg", None) or str(error)
    if not (key := re.search('Key "(.*?)" does not exist', message)):
        return message
    meant = re.search('Did you mean "(.*?)"', message)
    return f"there is no key {key[1]}" + (f"; did you mean {meant[1]}?" if meant else "")


def _place(error: Exception, path: str) -> str:
    """Where an error comes from: the last line in the file `path` that led to it, or, of none, the last of all."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.text or ''}"
    frames = traceback.extract_tb(error.__traceback__)
    found = ([frame for frame in frames if frame.filename == path] or frames)[-1]
    return f"{found.filename}, line {found.lineno}: {found.line}"


def override(config, arguments):
    """`config` with `--config.key=value` arguments; another recipe, nets or data set bring their own keys first.

    Raises UsageError for unknown keys and wrong types.
    """
    given = dict(argument.removeprefix("--config.").partition("=")[::2] for argument in arguments)
    config = configs.choose(config, given)
    for name in given:
        configs.require_key(config, name)
    values = flags.FlagValues()
    command_line = ["biggan_jax", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=command_line)
        values(command_line)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        message = error.args[0] if error.args else error  # str(KeyError) would quote the message
        raise UsageError(f"{' '.join(arguments)}: {message}") from error
    return config
