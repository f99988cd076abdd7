"""Attacks: configs and files of somebody who means harm, or who had bad luck."""
