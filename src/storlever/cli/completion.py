"""Print what has a shell complete the commands, with the targets, LUNs and users that are there."""

from argparse import ArgumentParser, Namespace

from argcomplete.shell_integration import shellcode

from storlever.cli.failure import Status


def add(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


def run(arguments: Namespace) -> int:
    print(shellcode(["storlever"], shell=arguments.shell))
    return Status.DONE
