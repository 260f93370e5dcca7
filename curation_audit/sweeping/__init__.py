"""The privacy-utility sweep: private curations at several epsilons, attacked and measured."""
