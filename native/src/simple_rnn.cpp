#include "cell.h"

namespace ostinato::OSTINATO_ISA {

const CellFunctions simple_rnn = functions_of<SimpleRnn>();

}  // namespace ostinato::OSTINATO_ISA
