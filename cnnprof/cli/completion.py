"""``cnnprof completion``: the script that makes a shell complete commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command("completion", short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  cnnprof completion bash > ~/.local/share/bash-completion/completions/cnnprof
    zsh:   cnnprof completion zsh > "${fpath[1]}/_cnnprof"
    fish:  cnnprof completion fish > ~/.config/fish/completions/cnnprof.fish
    """
    from cnnprof.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "cnnprof", "_CNNPROF_COMPLETE").source())
