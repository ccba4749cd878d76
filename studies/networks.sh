#!/bin/sh
# The networks that ship beside ResNet-56, trained one after the other on Fashion-MNIST.
#
#   studies/networks.sh fashion-mnist:/usr/share/datasets/fashion-mnist results/networks
#
# Interrupted, run it again: every training goes on where it was last saved, and one that ended is not
# begun again. The data are Debian's package dataset-fashion-mnist, or the four files from
# https://github.com/zalandoresearch/fashion-mnist.
set -eu
data=$1
out=$2

train() {
    name=$1
    shift
    test -e "$out/$name/manifest.json" ||
        resanalysis train --data "$data" --seed 0 --out "$out/$name" --arch "$name" --recipe "$recipe" "$@"
}

recipe=quick

train cifar_vgg16 --width 16
# A matched set: as deep and as wide as each other, the same recipe.
train plain20 --width 8 --epochs 3
train resnet20 --width 8 --epochs 3
train highway19 --width 8 --epochs 3
train stochastic-depth20 --width 8 --epochs 3
# Deeper ones: the plain network of 56 layers hardly learns in this time, as He et al. 2015 found.
train plain56 --width 8
train stochastic-depth56 --width 8
train resnet56 --width 8
train resnet110v2 --width 8
train highway56 --width 8
# The transformer's own.
recipe=transformer
train small-vit12 --width 48
# The paper's own network (54 units, width 16), trained longer: about three hours of two cores.
recipe=quick
out=$out/wide
train resnet110v2 --epochs 14 --half-size 0.5
test -e "$out/on/manifest.json" ||
    resanalysis train --data "$data" --seed 0 --out "$out/on" --start-from "$out/resnet110v2/resnet110v2.pt" \
        --recipe quick --epochs 3 --rate 0.015 --half-size 0
