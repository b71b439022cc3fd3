"""The command line's entry: commands by name, loaded when they're called, and errors as one line."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

import click

from cnnprof import __version__
from cnnprof.errors import CnnprofError

__all__ = ["COMMANDS", "cli", "entry"]

# name -> (module, one line for --help): listing commands imports none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "analyze": ("cnnprof.cli.analyze", "What a model costs, layer by layer."),
    "rf": ("cnnprof.cli.rf", "What each layer sees of the input: its receptive field."),
    "memory": ("cnnprof.cli.memory", "What is alive when, the peak, and what would lower it."),
    "predict": ("cnnprof.cli.predict", "How long a model takes on a device, without running it."),
    "measure": ("cnnprof.cli.measure", "Run a model here and say how long it takes."),
    "calibrate": ("cnnprof.cli.calibrate", "Learn what this machine and runner do."),
    "verify": ("cnnprof.cli.verify", "Predicted against measured, over a list of networks."),
    "devices": ("cnnprof.cli.devices", "Devices that latency can be predicted for."),
    "report": ("cnnprof.cli.report", "HTML reports: a site, or one file."),
    "compare": ("cnnprof.cli.compare", "Several models side by side."),
    "check": ("cnnprof.cli.check", "Hold models against their budgets; for CI."),
    "baseline": ("cnnprof.cli.baseline", "Write or show what the models cost, to commit."),
    "diff": ("cnnprof.cli.diff", "What changed between two models, layer by layer."),
    "crosscheck": ("cnnprof.cli.crosscheck", "Our count beside another tool's, every difference explained."),
    "strip": ("cnnprof.cli.strip", "An ONNX model's structure without its weights."),
    "zoo": ("cnnprof.cli.zoo", "The networks the field learnt from."),
    "completion": ("cnnprof.cli.completion", "Print the shell completion script."),
}

_EPILOG = """\b
Examples:
  cnnprof analyze model.onnx
  cnnprof analyze torchvision:resnet50 --depth 1
  cnnprof analyze model.onnx --input 1x3x480x640 --format json -o profile.json
"""


class LazyGroup(click.Group):
    """A group whose commands are imported only when they run or show their own help."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see cnnprof --help"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="cnnprof %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """What a convolutional network costs, layer by layer: compute, memory, receptive field, latency."""
    ctx.obj = {"debug": debug}


def entry() -> NoReturn:
    """Run the command line and exit with its code; errors are one line on standard error."""
    # Graphs are millions of small acyclic objects that live to the end: looking for cycles among them is waste.
    gc.set_threshold(200_000, 50, 100)
    debug = "--debug" in sys.argv[1:]
    if debug and sys.argv[1] != "--debug":  # also after the command, where people add it
        sys.argv = [sys.argv[0], "--debug", *(arg for arg in sys.argv[1:] if arg != "--debug")]
    try:
        code = _invoke()
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.exceptions.Abort:
        _leave(130, "interrupted")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader has gone (| head): not an error, and Python must not say so at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except CnnprofError as error:
        if debug:
            traceback.print_exc()  # and still the error's own exit code: 1 would mean that the gate says no
        _leave(error.exit_code, f"error: {error}")
    except KeyboardInterrupt:
        _leave(130, "interrupted")
    except Exception as error:
        if debug:
            traceback.print_exc()  # and still the error's own exit code: 1 would mean that the gate says no
        _leave(3, f"error: internal: {type(error).__name__}: {error}; run again with --debug and report it")
    sys.exit(code if isinstance(code, int) else 0)


def _invoke() -> Any:
    if "_CNNPROF_COMPLETE" in os.environ:
        return cli.main(prog_name="cnnprof")
    # Not cli.main: it turns a closed pipe into exit code 1, which here means that the gate says no.
    with cli.make_context("cnnprof", sys.argv[1:]) as context:
        return cli.invoke(context)


def _leave(code: int, message: str) -> NoReturn:
    text = " ".join(message.split())
    click.echo("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text), err=True)
    sys.exit(code)
