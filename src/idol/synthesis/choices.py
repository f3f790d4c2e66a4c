"""Choices of what a synthetic clip contains: the kind of depth and the joint layout."""

from __future__ import annotations

from typing import Literal, get_args

DepthOf = Literal["person", "scene"]
DEPTHS: tuple[DepthOf, ...] = get_args(DepthOf)
"""`person`: the person alone, 0 elsewhere. `scene`: the whole frame."""

JointSet = Literal["body", "whole-body"]
JOINT_SETS: tuple[JointSet, ...] = get_args(JointSet)
"""`body`: OpenPose's 18 joints. `whole-body`: the 133 of COCO-WholeBody."""
